"""What the documents show is there, parses and loads."""

from __future__ import annotations

import itertools
import re
from pathlib import Path

import click
import pytest
from documents import DOCUMENTS, REPOSITORY, blocks, calls, code, commands, console_lines, links

from provisioner.artifacts.lock import shipped_lock
from provisioner.cli.main import program
from provisioner.inventory import load_inventory
from provisioner.playbook import filters, loader, modules, plays, steps, tasks

README = REPOSITORY / "README.md"
LANGUAGE = REPOSITORY / "docs" / "playbooks.md"
# Folders whose files are named in the documents as they lie in the repository.
_FILE = re.compile(r"(?:docs|playbooks|provisioner|templates|tests|benchmarks)/[\w./-]*")


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_somewhere(document: Path) -> None:
    for link in links(document):
        assert (document.parent / link).exists(), link


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_files_that_are_named_exist(document: Path) -> None:
    for text in code(document):
        for word in text.split():
            if _FILE.fullmatch(word) and not word.isupper():
                assert (REPOSITORY / word).exists(), word


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_commands_and_options_exist(document: Path) -> None:
    for words in commands(document, "b9prov"):
        command, rest = _find(program, words[1:])
        options = {name for each in command.params for name in each.opts}
        options |= {name for each in command.params for name in each.secondary_opts} | {"--help"}
        for word in itertools.takewhile(lambda word: word != "--", rest):
            if re.match(r"--?[a-z]", word):
                assert word.partition("=")[0] in options, " ".join(words)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_commands_to_be_typed_are_taken(document: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # readers have their own files
    monkeypatch.setattr(click.Path, "convert", lambda self, value, param, context: Path(value))
    for words in calls(console_lines(document), "b9prov"):
        command, rest = _find(program, words[1:])
        if "--help" not in rest and "--version" not in rest:
            command.make_context("b9prov", list(rest))


def _find(command: click.Command, words: list[str]) -> tuple[click.Command, list[str]]:
    """The command that the words name, and the words behind its name."""
    while isinstance(command, click.Group) and words and not words[0].startswith("-"):
        found = command.get_command(click.Context(command), words[0])
        assert found, f"no such command: {words[0]}"
        command, words = found, words[1:]
    return command, words


def test_the_readme_shows_every_command() -> None:
    shown = {words[1] for document in DOCUMENTS for words in commands(document, "b9prov")}
    assert set(program.list_commands(click.Context(program))) <= shown


def test_make_targets_exist() -> None:
    makefile = (REPOSITORY / "Makefile").read_text()
    for document in DOCUMENTS:
        for words in commands(document, "make"):
            for target in words[1:]:
                assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


def test_the_readmes_inventory_is_right(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("B9_ADMIN_TOKEN", "a token")
    (block,) = blocks(README, "yaml")
    path = tmp_path / "inventory.yaml"
    path.write_text(block.text)
    inventory = load_inventory(path)
    assert list(inventory.hosts) == ["w1", "w2"]
    variables = inventory.hosts["w1"].variables
    for name in ("ollama", "k3s"):
        assert shipped_lock().find(name, variables[name]["version"], "amd64")


def test_the_playbooks_shown_are_of_the_language(tmp_path: Path) -> None:
    for block in blocks(LANGUAGE, "yaml"):
        path = tmp_path / "playbook.yaml"
        path.write_text(block.text)
        assert loader.Loader([]).playbook(path).plays


def test_the_language_is_described_in_full() -> None:
    described = {word for text in code(LANGUAGE) for word in text.split()}
    wanted = {
        *plays.PLAY_KEYWORDS,
        *steps.OF_TASKS,
        *steps.OF_ROLES,
        *tasks.KEYWORDS,
        *modules.names(),
        *filters.FILTERS,
        *filters.TESTS,
    }
    assert wanted - described == set()


def test_arguments_shown_for_our_modules_exist() -> None:
    rows = re.findall(r"^\| `(\w+)` \|.*\| ([^|]*) \|$", LANGUAGE.read_text(), re.MULTILINE)
    assert rows
    for module, shown in rows:
        names = re.findall(r"`(\w+)`", re.sub(r"\([^)]*\)", "", shown))
        assert set(names) <= set(modules.spec(module).arguments), module
