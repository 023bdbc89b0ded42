# make demo   a lab of real Debian hosts on this machine, taken to ready and put through faults
# make site   the documentation, as pages in build/site
# make test   everything that CI runs: lint, types, audit, unit, contract, host and real tests
# Both set up what they need (apt packages, .venv, Go modules) on a fresh Debian machine.

SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
APT_PACKAGES := systemd-container mmdebstrap debian-archive-keyring iproute2 openssh-client openssh-server sudo tmux \
	python3-venv ca-certificates openssl nftables chromium man-db mandoc zsh fish
APT_PACKAGES_REAL := etcd-server gcc libc6-dev g++
SUDO := $(if $(filter 0,$(shell id -u)),,sudo -n)
MIN_GO := 1.24

.PHONY: demo test setup setup-apt setup-real lint audit unit fuzz contract browser hosts real oracle bench bench-agent \
	bench-recovery bench-throughput site clean

demo: setup
	$(SUDO) $(VENV)/bin/b9prov demo

test: setup setup-real lint audit unit contract browser hosts real oracle

setup: setup-apt $(VENV)/.installed

setup-apt:
	@missing=$$(for p in $(APT_PACKAGES); do dpkg -s $$p >/dev/null 2>&1 || echo $$p; done); \
	if [ -n "$$missing" ]; then \
	  command -v apt-get >/dev/null || { echo "b9prov's lab needs a Debian machine; missing: $$missing"; exit 1; }; \
	  $(SUDO) true || { echo "missing: $$missing (install them as root, or allow sudo)"; exit 1; }; \
	  $(SUDO) apt-get update -q && DEBIAN_FRONTEND=noninteractive $(SUDO) apt-get install -q -y --no-install-recommends $$missing; \
	fi

setup-real: setup-apt
	@missing=$$(for p in $(APT_PACKAGES_REAL); do dpkg -s $$p >/dev/null 2>&1 || echo $$p; done); \
	if [ -n "$$missing" ]; then \
	  $(SUDO) apt-get update -q && DEBIAN_FRONTEND=noninteractive $(SUDO) apt-get install -q -y --no-install-recommends $$missing; \
	fi
	@command -v go >/dev/null || { echo "the real servers are built with Go $(MIN_GO) or newer: install it and put it on PATH"; exit 1; }

$(VENV)/.installed: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/pip install -q -e '.[dev]'
	touch $@

lint: setup
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy

audit: setup
	$(VENV)/bin/python .ci/audit

unit: setup
	$(VENV)/bin/pytest -q -n 2 tests/unit

fuzz: setup
	FUZZ=1 $(VENV)/bin/pytest -q -n 2 tests/unit/fuzz tests/unit/inference tests/unit/agent/test_agent_control_contract.py

contract: setup
	$(VENV)/bin/pytest -q tests/contract

browser: setup
	$(VENV)/bin/pytest -q tests/browser

hosts: setup
	$(SUDO) $(VENV)/bin/pytest -q tests/hosts

real: setup setup-real
	$(SUDO) $(VENV)/bin/pytest -q tests/real

oracle: setup
	$(SUDO) $(VENV)/bin/pytest -q tests/oracle

site: setup
	$(VENV)/bin/mkdocs build --strict

bench: setup
	$(SUDO) $(VENV)/bin/python -m benchmarks $(BENCH)

bench-agent: setup
	$(VENV)/bin/python -m benchmarks.agent $(BENCH)

bench-throughput: setup
	$(SUDO) $(VENV)/bin/python -m benchmarks.throughput $(BENCH)

bench-recovery: setup
	$(SUDO) $(VENV)/bin/python -m benchmarks.recovery $(BENCH)

clean:
	rm -rf $(VENV) dist build .pytest_cache .mypy_cache .ruff_cache
