"""Codes, the page that explains them and the messages that have them hold each other."""

from __future__ import annotations

import errno
import os
import re
from pathlib import Path

import pytest
from documents import REPOSITORY

from provisioner.codes import CODES, PAGE, code_of, sections

PAGE_TEXT = (REPOSITORY / PAGE).read_text("utf-8")
SOURCES = [*(REPOSITORY / "provisioner").rglob("*.py"), *(REPOSITORY / "playbooks").rglob("*.yaml")]
CODE = re.compile(r"\bB9-[A-Z0-9]+(?:-[A-Z0-9]+)*\b")
# Of the system, not of ours: a task that could not write says it in these words.
STRANGE = {os.strerror(errno.ENOSPC)}


def _read(file: Path) -> str:
    # a message may be broken over lines of the source
    return re.sub(r'"\s*f?"', "", file.read_text("utf-8"))


def test_every_code_has_a_section_and_every_section_a_code() -> None:
    headings = re.findall(r"^### (B9-\S+)$", PAGE_TEXT, re.MULTILINE)
    assert sorted(headings) == sorted(CODES)
    assert set(sections()) == set(CODES)


@pytest.mark.parametrize("code", CODES)
def test_a_section_says_what_it_means_and_what_to_do(code: str) -> None:
    text = sections()[code]
    assert len(text) > 80
    assert "*Mend it:*" in text or "harmless" in text or "no fault" in text


def test_every_code_that_is_named_exists() -> None:
    named = {name for file in SOURCES for name in CODE.findall(file.read_text("utf-8"))}
    assert named <= set(CODES), named - set(CODES)


def test_every_code_is_used() -> None:
    """By a message that has its words, or by the doctor."""
    doctor = "".join(_read(file) for file in (REPOSITORY / "provisioner/doctor").glob("*.py"))
    failures = _read(REPOSITORY / "provisioner/cli/failures.py")
    for code, about in CODES.items():
        assert about.words or f'"{code}"' in doctor + failures, code


def test_words_are_those_of_messages() -> None:
    """Who changes a message finds here that its code goes with it."""
    # neither the table itself nor findings, which have their codes, are messages
    others = (REPOSITORY / "provisioner/codes.py", REPOSITORY / "provisioner/doctor")
    files = [each for each in SOURCES if not any(each.is_relative_to(other) for other in others)]
    messages = "".join(map(_read, files))
    texts = "".join(file.read_text("utf-8") for file in SOURCES)
    # of several checks, as `Checks.finish` says it
    composed = {f"{what} checks failed" for what in re.findall(r'\.finish\(\s*"(\w+)"', texts)}
    for code, about in CODES.items():
        for words in about.words:
            assert words in messages or words in STRANGE | composed, (code, words)


@pytest.mark.parametrize(
    ("message", "code"),
    [
        ("unknown host key SHA256:x (ssh-ed25519) of h", "B9-SSH-KEY"),
        ("the jump host: host key SHA256:x of h is not the known SHA256:y", "B9-SSH-KEY"),
        ("admin@10.0.0.1:22 refused the key (the agent or the default keys)", "B9-SSH-LOGIN"),
        ("gateway: nothing answers at 10.0.0.1:22: Connection refused", "B9-SSH-DOWN"),
        ("no answer from 10.0.0.1:22 within 10 s", "B9-SSH-DOWN"),
        ("sudo wants a password", "B9-SUDO"),
        ("another run is at work here: root@ci, process 1", "B9-LOCKED"),
        ("the connection was lost: Broken pipe", "B9-LOST"),
        ("the host can become a worker: 2 of 14 preflight checks failed:\n- x", "B9-PREFLIGHT"),
        ("install: no source gave ollama: x: only 3 MiB are free in /tmp", "B9-DISK"),
        ("install: no source gave ollama: http://x: 404", "B9-ARTIFACT"),
        ("the GPUs can be used: 1 of 3 NVIDIA checks failed:\n- driver: x", "B9-GPU"),
        ("record: the gateway does not know the admin token", "B9-ADMIN-TOKEN"),
        ("record: pool 'x' is not configured at the gateway", "B9-POOL-UNKNOWN"),
        ("slot: worker w1 was revoked on 2026-01-01", "B9-TUNNEL-REVOKED"),
        ("whatever a playbook of one's own says [B9-CLOCK]", "B9-CLOCK"),
        ("failed, B9-NO-SUCH-CODE", ""),
        ("non-zero return code", ""),
    ],
)
def test_messages_have_their_codes(message: str, code: str) -> None:
    assert code_of(message) == code
