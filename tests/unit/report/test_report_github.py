"""What GitHub Actions is told: annotations, a summary, and nothing that a host made up."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path

import pytest
from report_events import finished, rerun, run

from provisioner.engine.events import HostSummary, RunFinished, TaskFinished
from provisioner.report import make_report
from provisioner.report.github import MOST, Annotations
from provisioner.report.summary import MOST as MOST_BYTES
from provisioner.report.summary import JobSummary
from provisioner.report.workflow import command, harmless, place
from provisioner.secrets import Secret

SEPARATOR = re.compile(r"(?<!\\)\|")


@pytest.fixture(autouse=True)
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("GITHUB_WORKSPACE", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def annotations(*events) -> list[str]:
    stream = io.StringIO()
    sink = Annotations(stream)
    for event in events:
        sink(event)
    return stream.getvalue().splitlines()


def page(path: Path, *events) -> str:
    sink = JobSummary(path, rerun)
    for event in events:
        sink(event)
    return path.read_text()


def failed(host: str, message: str = "no", task: str = "try", where: str = "") -> TaskFinished:
    return TaskFinished(host, "p", task, "command", where, "failed", 0.1, {"msg": message})


def test_commands_are_escaped_as_the_toolkit_does() -> None:
    said = command("error", "50%\r\nof a: b, c", title="a: b, 50%\n", file="")
    assert said == "::error title=a%3A b%2C 50%25%0A::50%25%0D%0Aof a: b, c"
    assert command("add-mask", "x") == "::add-mask::x"


def test_a_failure_names_host_task_and_what_was_said() -> None:
    unreachable, told = annotations(*run())
    assert unreachable == (
        "::error title=b9prov%3A unreachable::"
        "w3: unreachable: connection refused%0Ais sshd running there?"
    )
    assert told.startswith("::error title=b9prov%3A k3s %3A install k3s::w2: k3s : install k3s: ")
    assert "non-zero return code (at roles/k3s/tasks/main.yaml:12)%0A" in told
    assert told.endswith("line 23%0Aline 24%0Afree 3 GiB on /usr")


def test_a_place_in_the_workspace_is_relative_to_it(workspace: Path, monkeypatch) -> None:
    (workspace / "site").mkdir()
    (workspace / "site" / "my, play.yaml").write_text("")
    monkeypatch.chdir(workspace / "site")
    (told, _) = annotations(failed("w1", where="my, play.yaml:7"), *run()[:5], run()[-1])
    assert told == ("::error file=site/my%2C play.yaml,line=7,title=b9prov%3A try::w1: try: no")
    assert place("/etc/passwd", 1) == {} and place("site", 1) == {}


def test_hosts_that_fail_alike_share_one_of_the_few_that_are_shown() -> None:
    (told,) = annotations(*(failed(f"w{n}") for n in range(7)), RunFinished({}, 1.0))
    assert "::w0, w1, w2, w3, w4 and 2 more: try: no" in told
    many = annotations(*(failed("w1", task=f"t{n}") for n in range(40)), RunFinished({}, 1.0))
    assert len(many) == MOST and "and 31 more failures" in many[-1]


def test_an_interrupt_is_told() -> None:
    (told,) = annotations(RunFinished({"w1": HostSummary()}, 1.0, True, ("w1",)))
    assert told.endswith("::w1: unfinished: the run was interrupted")


@pytest.mark.parametrize(
    "said", ["::set-output name=a::b", "  \t::add-mask::a", "a ##[set-output name=a]b", ":::x::"]
)
@pytest.mark.parametrize("kind", ["plain", "json"])
def test_what_a_host_says_is_no_command(said: str, kind: str) -> None:
    stream = io.StringIO()
    report = make_report(kind, stream=stream, rerun=rerun, verbose=3)
    told = finished("w1", "t", "failed", {"msg": f"no\n{said}", "stdout": said, "stderr": said})
    report(told)
    lines = stream.getvalue().splitlines()
    assert lines
    assert not any(line.lstrip().startswith("::") or "##[" in line for line in lines)
    if kind == "json":
        assert json.loads(lines[0])["result"]["stdout"] == said


def test_harmless_lines_stay_as_they_are() -> None:
    for line in ("std::string", "a :: b", ": :", "", "## [x]"):
        assert harmless(line) == line


def test_the_summary_has_failures_first_and_what_to_do(tmp_path: Path) -> None:
    text = page(tmp_path / "summary.md", *run())
    rows = [line for line in text.splitlines() if line.startswith(("| ✅", "| ❌"))]
    assert [row.split(" | ")[1] for row in rows] == ["w2", "w3", "w1"]
    assert text.startswith("## ❌ up: 2 of 3 hosts failed")
    assert "- w3: is sshd running?\n" in text
    assert "```console\n$ b9prov up inventory.yaml --limit w2,w3\n```" in text


def test_the_summary_is_added_to_what_is_there(tmp_path: Path) -> None:
    path = tmp_path / "summary.md"
    path.write_text("before\n")
    assert page(path, *run()).startswith("before\n## ")


def test_nothing_in_the_summary_is_markup(tmp_path: Path) -> None:
    Secret("a-secret-word")
    nasty = "<img src=x> | `a` [b](c) **d** @team a-secret-word\n# e"
    text = page(
        tmp_path / "s.md",
        RunFinished({"w|1": HostSummary(failed=1, reason=nasty, advice=nasty)}, 1.0),
    )
    (row,) = [line for line in text.splitlines() if line.startswith("| ❌")]
    assert len(SEPARATOR.findall(row)) == 9
    assert "<img" not in text and "a-secret-word" not in text and "@team" not in text
    assert "\n# e" not in text and r"\[b\](c) \*\*d\*\*" in text


def test_the_summary_is_never_larger_than_github_takes(tmp_path: Path) -> None:
    path = tmp_path / "summary.md"
    path.write_bytes(b"x" * 1000)
    end = HostSummary(failed=1, reason="é" * 390)
    text = page(path, RunFinished({f"w{n:05}": end for n in range(3000)}, 1.0))
    assert MOST_BYTES - 2000 < path.stat().st_size <= MOST_BYTES
    assert re.search(r"\n\d+ hosts not shown here", text)
    page(path, *run())
    assert path.stat().st_size <= MOST_BYTES
