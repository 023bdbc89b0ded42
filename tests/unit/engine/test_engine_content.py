"""Files that go to a host: small, large, text or not."""

from __future__ import annotations

import hashlib
import os

import pytest
from engine_harness import Workbench

from provisioner.engine.actions import INLINE_LIMIT


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"text\n",
        "w\N{LATIN SMALL LETTER O WITH DIAERESIS}rd\r\n".encode(),
        b"\xff\xfe\x00binary",
        b"x" * (INLINE_LIMIT + 1),
        os.urandom(3 * INLINE_LIMIT),
    ],
    ids=["empty", "text", "unicode", "binary", "long text", "long binary"],
)
def test_files_arrive_as_they_are(bench: Workbench, content: bytes) -> None:
    bench.write("files/source", content)
    record = bench.run(
        """
        - {name: new, copy: {src: source, dest: "{{ here }}/dest"}}
        - {name: again, copy: {src: source, dest: "{{ here }}/dest"}}
        - {name: into a folder, copy: {src: source, dest: "{{ here }}/into/"}}
        """,
        hosts=("w1",),
        variables={"here": str(bench.folder)},
    )
    assert record.statuses() == [("new", "changed"), ("again", "ok"), ("into a folder", "changed")]
    for name in ("dest", "into/source"):
        assert (bench.folder / name).read_bytes() == content


def test_a_long_template(bench: Workbench) -> None:
    bench.write("templates/long.j2", "{% for n in range(20000) %}\n{{ word }}\n{% endfor %}")
    bench.run(
        "- {template: {src: long.j2, dest: '{{ here }}/'}}",
        variables={"here": str(bench.folder), "word": "w\N{GREEK SMALL LETTER ALPHA}"},
    )
    assert (bench.folder / "long").read_text() == "w\N{GREEK SMALL LETTER ALPHA}\n" * 20_000


def test_a_missing_file_fails_the_task(bench: Workbench) -> None:
    record = bench.run(
        "- {name: lost, copy: {src: nowhere, dest: '{{ here }}/x'}}",
        variables={"here": str(bench.folder)},
    )
    assert record.summary().reason == "lost: no such file on the controller: nowhere"


def test_an_artifact_is_pushed(bench: Workbench) -> None:
    content = os.urandom(3 * INLINE_LIMIT)
    bench.write("files/big", content)
    sha256 = hashlib.sha256(content).hexdigest()
    task = (
        "get_artifact: {sources: [/nonexistent, controller], push: '{{ from }}', "
        "sha256: '{{ sha256 }}', dest: '{{ here }}/big'}"
    )
    record = bench.run(
        f"""
        - {{name: new, {task}}}
        - {{name: again, {task}}}
        - {{name: nothing to push, get_artifact: {{sources: [controller], sha256: x, dest: /x}}}}
        """,
        variables={
            "here": str(bench.folder),
            "sha256": sha256,
            "from": str(bench.folder / "files/big"),
        },
    )
    assert record.statuses()[:2] == [("new", "changed"), ("again", "ok")]
    assert (bench.folder / "big").read_bytes() == content
    assert "the source 'controller' needs push" in record.summary().reason


def test_arguments_that_are_too_long_fail_the_task(bench: Workbench) -> None:
    record = bench.run(
        """
        - {name: much, command: "echo {{ 'x' * 17000000 }}"}
        - {name: behind, command: "touch {{ here }}/trace"}
        """,
        variables={"here": str(bench.folder)},
    )
    assert record.statuses() == [("much", "failed")]
    assert not (bench.folder / "trace").exists()


def test_output_that_is_no_text(bench: Workbench) -> None:
    record = bench.run(
        """
        - {name: odd, shell: "printf 'a\\\\377b'", register: odd}
        - {name: shown, debug: {msg: "{{ odd.stdout }}"}}
        """
    )
    assert record.message("shown") == "a\N{REPLACEMENT CHARACTER}b"
