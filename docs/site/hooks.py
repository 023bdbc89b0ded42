"""What mkdocs does besides: pages that are made of the code, and of files outside this folder."""

from __future__ import annotations

import posixpath
import re
from pathlib import Path

import reference
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

REPOSITORY = Path(__file__).parents[2]
# files outside this folder that are pages, by their place in the repository
PAGES = {
    "README.md": "readme.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "benchmarks/README.md": "benchmarks.md",
    "inventory.example.yaml": "reference/inventory.md",
}
_LINK = re.compile(r"\]\(([^)#\s]+)(#[^)\s]*)?\)")
_NOWHERE = "nowhere:"
_UNLINKED = re.compile(rf"\[([^\[\]]*)\]\({_NOWHERE}\)")
_OUTSIDE = ("http:", "https:", "mailto:")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that no file of this folder is."""
    made = {f"reference/{name}.md": text for name, text in reference.pages().items()}
    for source, page in PAGES.items():
        if source.endswith(".md"):
            made[page] = _linked((REPOSITORY / source).read_text("utf-8"), source, page)
    for file in list(files.documentation_pages()):
        page = file.src_uri
        linked = _linked(file.content_string, f"docs/{page}", page)
        made[page] = linked
        files.remove(file)
    for page, text in made.items():
        files.append(File.generated(config, page, content=text))
    return files


def _linked(text: str, source: str, page: str) -> str:
    """The text of a file of the repository, with its links as they are between pages.

    What is no page is named without a link.
    """

    def link(match: re.Match[str]) -> str:
        target, anchor = match[1], match[2] or ""
        if target.startswith(_OUTSIDE):
            return match[0]
        path = posixpath.normpath(posixpath.join(posixpath.dirname(source), target))
        place = PAGES.get(path) or (path.removeprefix("docs/") if path.startswith("docs/") else "")
        if not place:
            return f"]({_NOWHERE})"
        relative = posixpath.relpath(place, posixpath.dirname(page) or ".")
        return f"]({relative}{anchor})"

    return _UNLINKED.sub(r"\1", _LINK.sub(link, text))
