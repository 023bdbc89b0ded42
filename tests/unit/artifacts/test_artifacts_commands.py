"""`b9prov artifacts` against servers that lie, break off or lack what is wanted."""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import requests
from click.testing import CliRunner, Result
from fileserver import Behaviour, serving

from provisioner.artifacts import vendor
from provisioner.artifacts.lock import FILE, Entry, Lock, load_lock
from provisioner.artifacts.mirror import Mirror
from provisioner.cli import artifacts as command
from provisioner.cli.failures import report_failure

DATA = os.urandom(700_000)
SHA256 = hashlib.sha256(DATA).hexdigest()
PATH = "/ollama/9.9.9/ollama-linux-amd64.tgz"
Run = Callable[..., Result]

INVENTORY = """\
gateway: {host: 192.0.2.1}
hosts: {w1: 192.0.2.2, w2: 192.0.2.3}
defaults:
  k3s: {enabled: false}
  ollama: {version: 9.9.9}
  artifacts: {lock: own.lock, mirror: MIRROR}
"""


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs a command in a folder of its own; its exit code and what it said."""
    monkeypatch.chdir(tmp_path)

    def call(*words: str) -> Result:
        result = CliRunner().invoke(command.artifacts, words, standalone_mode=False)
        if result.exception:
            with pytest.MonkeyPatch.context() as patch:
                said: list[str] = []
                patch.setattr("provisioner.cli.failures.say", said.append)
                result.exit_code = report_failure(result.exception)
            result.said = "\n".join(said)  # type: ignore[attr-defined]
        else:
            result.exit_code = result.return_value or 0
            result.said = result.output  # type: ignore[attr-defined]
        return result

    return call


@pytest.fixture
def vendors() -> Iterator[tuple[Behaviour, str]]:
    """A vendor's server."""
    behaviour = Behaviour({PATH: DATA})
    with serving(behaviour) as url:
        yield behaviour, url


def pin(folder: Path, url: str, mirror: str = "null", **changes: object) -> None:
    """An inventory and a lock of one's own for it."""
    entry = Entry("ollama", "9.9.9", "amd64", url + PATH, SHA256, licence="MIT")
    Lock([replace(entry, **changes)]).write(folder / "own.lock")  # type: ignore[arg-type]
    (folder / "inventory.yaml").write_text(INVENTORY.replace("MIRROR", mirror))


def test_fetch_then_nothing_then_verify(
    run: Run, tmp_path: Path, vendors: tuple[Behaviour, str]
) -> None:
    behaviour, url = vendors
    pin(tmp_path, url)
    done = run("fetch", "--dir", "files")
    assert done.exit_code == 0 and "683.6 KiB from http://127.0.0.1" in done.said
    assert (tmp_path / f"files{PATH}").read_bytes() == DATA
    kept = load_lock(tmp_path / "files" / FILE).find("ollama", "9.9.9", "amd64")
    assert kept and (kept.sha256, kept.size) == (SHA256, len(DATA))
    asked = len(behaviour.asked)
    done = run("fetch", "--dir", "files")
    assert done.exit_code == 0 and "is there" in done.said and len(behaviour.asked) == asked
    assert run("verify", "--dir", "files").exit_code == 0


def test_verify_names_each_thing_that_is_wrong(
    run: Run, tmp_path: Path, vendors: tuple[Behaviour, str]
) -> None:
    pin(tmp_path, vendors[1])
    run("fetch", "--dir", "files")
    file = tmp_path / f"files{PATH}"
    (tmp_path / "files/other").write_text("x")
    done = run("verify", "--dir", "files")
    assert done.exit_code == 1 and "superfluous: files/other" in done.said
    (tmp_path / "files/other").unlink()
    file.write_bytes(DATA[:-1])
    done = run("verify", "--dir", "files")
    assert done.exit_code == 1
    assert f"wrong: files{PATH}" in done.said and f"not {SHA256}" in done.said
    file.unlink()
    done = run("verify", "--dir", "files")
    assert done.exit_code == 1 and f"missing: files{PATH}" in done.said
    assert run("verify", "--dir", "nothing").exit_code == 2


def test_what_was_begun_is_continued(
    run: Run, tmp_path: Path, vendors: tuple[Behaviour, str]
) -> None:
    behaviour, url = vendors
    pin(tmp_path, url)
    part = tmp_path / f"files{PATH}.part"
    part.parent.mkdir(parents=True)
    part.write_bytes(DATA[:300_000])
    behaviour.cut, behaviour.cuts = 100_000, 1
    done = run("fetch", "--dir", "files")
    assert done.exit_code == 0 and "390.6 KiB" in done.said
    assert [rest for _, rest in behaviour.asked] == ["bytes=300000-", "bytes=400000-"]
    assert not part.exists()


def test_a_server_without_ranges_gives_it_whole(
    run: Run, tmp_path: Path, vendors: tuple[Behaviour, str]
) -> None:
    behaviour, url = vendors
    behaviour.ranges, behaviour.cut, behaviour.cuts = False, 100_000, 1
    pin(tmp_path, url)
    assert run("fetch", "--dir", "files").exit_code == 0
    assert (tmp_path / f"files{PATH}").read_bytes() == DATA


def test_the_source_that_lies_is_named_and_the_next_one_asked(
    run: Run, tmp_path: Path, vendors: tuple[Behaviour, str]
) -> None:
    url = vendors[1]
    with serving(Behaviour({PATH: b"x" * len(DATA)})) as liar:
        pin(tmp_path, url, mirror=liar)
        done = run("fetch", "--dir", "files")
        assert done.exit_code == 0 and f"{liar}{PATH}: wrong content: its SHA-256" in done.said
        assert (tmp_path / f"files{PATH}").read_bytes() == DATA
        pin(tmp_path, liar)
        done = run("fetch", "--dir", "others")
    assert done.exit_code == 1 and f"{liar}{PATH}: wrong content" in done.said
    assert not (tmp_path / f"others{PATH}").exists()


def test_a_source_that_lacks_it_and_one_that_is_away(
    run: Run, tmp_path: Path, vendors: tuple[Behaviour, str]
) -> None:
    behaviour, url = vendors
    behaviour.content = {}
    pin(tmp_path, url, mirror="http://127.0.0.1:1")
    done = run("fetch", "--dir", "files")
    assert done.exit_code == 1
    assert f"http://127.0.0.1:1{PATH}: [Errno 111]" in done.said
    assert f"{url}{PATH}: HTTP 404" in done.said


def test_a_version_that_nobody_pinned(run: Run, tmp_path: Path) -> None:
    pin(tmp_path, "http://h", version="1.1.1")
    done = run("fetch", "--dir", "files")
    assert done.exit_code == 2
    assert "no SHA-256 is known for ollama 9.9.9" in done.said
    assert "b9prov artifacts update --name ollama --version 9.9.9" in done.said


def test_a_broken_lock_is_told_before_anything_is_done(run: Run, tmp_path: Path) -> None:
    pin(tmp_path, "http://h")
    (tmp_path / "own.lock").write_text("artifacts:\n- {name: ollama}\n")
    done = run("fetch", "--dir", "files")
    assert done.exit_code == 2 and "own.lock:2: an artifact without version" in done.said


@pytest.fixture
def at(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Has Ollama's vendor somewhere else."""

    def move(url: str) -> None:
        own = replace(vendor.VENDORS["ollama"], base=url + "/ollama/{version}/")
        monkeypatch.setitem(vendor.VENDORS, "ollama", own)

    return move


def test_update_pins_what_the_vendor_publishes(
    run: Run, tmp_path: Path, vendors: tuple[Behaviour, str], at: Callable[[str], None]
) -> None:
    behaviour, url = vendors
    at(url)
    sums = "/ollama/9.9.9/sha256sum.txt"
    behaviour.content[sums] = f"{'0' * 64}  ./other\n{SHA256}  ./{Path(PATH).name}\n".encode()
    words = ("update", "--name", "ollama", "--version", "9.9.9")
    # as of 0.14 the vendor packs it otherwise
    done = run(*words, "--url", url + PATH)
    assert done.exit_code == 0 and "as the vendor publishes" in done.said
    entry = load_lock(tmp_path / FILE).find("ollama", "9.9.9", "amd64")
    assert entry and (entry.sha256, entry.size, entry.url) == (SHA256, len(DATA), url + PATH)
    (tmp_path / FILE).unlink()
    behaviour.content[sums] = f"{'0' * 64} *{Path(PATH).name}\n".encode()
    done = run(*words, "--url", url + PATH)
    assert done.exit_code == 1 and f"the vendor publishes {'0' * 64}" in done.said
    assert not (tmp_path / FILE).exists()


def test_update_without_a_published_hash_or_with_ones_own(
    run: Run, tmp_path: Path, vendors: tuple[Behaviour, str], at: Callable[[str], None]
) -> None:
    behaviour, url = vendors
    at(url)
    words = ("update", "--name", "ollama", "--version", "9.9.9", "--url", url + PATH)
    assert "seen just now" in run(*words).said
    assert "as you say" in run(*words, "--sha256", SHA256.upper()).said
    done = run(*words, "--sha256", "0" * 64)
    assert done.exit_code == 1 and "and you say 0000" in done.said
    behaviour.cut, behaviour.cuts = 100_000, 1
    done = run(*words)
    assert done.exit_code == 1 and "run it again" in done.said
    behaviour.content = {}
    assert "HTTP 404" in run(*words).said
    for wrong in (("--sha256", "12"), ("--url", "ftp://x"), ("--version", "../x")):
        assert run(*words, *wrong).exit_code == 2
    assert run(*words, "--arch", "amd64", "--arch", "arm64").exit_code == 2


def test_the_lock_beside_what_vendors_publish(
    run: Run, tmp_path: Path, vendors: tuple[Behaviour, str], at: Callable[[str], None]
) -> None:
    behaviour, url = vendors
    at(url)
    pin(tmp_path, url)
    words = ("verify", "--online", "--lock", "own.lock")
    assert "publishes no hash" in run(*words).said
    for said, code in ((SHA256, 0), ("1" * 64, 1)):
        line = f"{said}  ./{Path(PATH).name}\n".encode()
        behaviour.content["/ollama/9.9.9/sha256sum.txt"] = line
        assert run(*words).exit_code == code


def test_the_mirror_serves_ranges_and_no_more_than_its_folder(tmp_path: Path) -> None:
    (tmp_path / "files").mkdir()
    (tmp_path / "files/a").write_bytes(DATA)
    (tmp_path / "secret").write_text("secret")
    with Mirror(str(tmp_path / "files"), "127.0.0.1", 0) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        url = f"http://127.0.0.1:{server.server_address[1]}"
        part = requests.get(f"{url}/a", headers={"Range": "bytes=699990-"}, timeout=5)
        assert (part.status_code, part.content) == (206, DATA[-10:])
        for path in ("/..%2fsecret", "/../secret", "/"):
            assert requests.get(url + path, timeout=5).status_code == 404
        server.shutdown()
        thread.join()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--bind", "nowhere"), "no address and port"),
        (("--bind", "192.0.2.77:8099"), "can't listen at 192.0.2.77:8099"),
        (("--dir", "nothing"), "no such directory"),
    ],
)
def test_a_mirror_that_can_not_be(
    run: Run, tmp_path: Path, words: tuple[str, ...], said: str
) -> None:
    (tmp_path / "artifacts").mkdir()
    done = run("mirror", *words)
    assert done.exit_code == 2 and said in done.said
