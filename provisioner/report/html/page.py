"""The page: one file that fetches nothing, and runs no script but its own.

All texts are escaped where they are put in. Should one ever not be: the policy of the page allows
just the style and the script whose digests it has, and no connection.
"""

from __future__ import annotations

import base64
import hashlib
from functools import lru_cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from provisioner.report.diff import style_of
from provisioner.report.html.view import View, moment, shown, took
from provisioner.report.text import clean, duration

FOLDER = Path(__file__).parent


def environment(folder: Path) -> Environment:
    """For templates of pages: everything is escaped, and nothing may be missing."""
    return Environment(
        loader=FileSystemLoader(folder),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )


@lru_cache
def asset(name: str) -> str:
    """A style or a script of this folder."""
    return (FOLDER / name).read_text("utf-8")


def render(view: View, version: str) -> str:
    """The page, as made by that version."""
    style = asset("base.css") + asset("report.css") + _grid(view.scale.stride)
    script = asset("report.js")
    page = _environment().get_template("report.html.j2")
    return page.render(
        view=view,
        version=version,
        style=Markup(style),  # noqa: S704 (ours, and numbers)
        script=Markup(script),  # noqa: S704
        policy=_policy(style, script),
    )


@lru_cache
def _environment() -> Environment:
    made = environment(FOLDER)
    made.filters |= {
        "clean": clean,
        "duration": duration,
        "line_kind": line_kind,
        "moment": moment,
        "shown": shown,
        "took": took,
    }
    return made


def line_kind(line: str) -> str:
    """The class of a line of a diff."""
    return {"green": "add", "red": "del", "cyan": "at", "bold": "file"}.get(style_of(line), "")


def _grid(stride: float) -> str:
    """The marks of the scale behind every lane."""
    return f":root {{ --stride: {stride:.4f}%; }}\n"


def _policy(style: str, script: str) -> str:
    return "; ".join(
        (
            "default-src 'none'",
            f"style-src {_digest(style)}",
            f"script-src {_digest(script)}",
            "img-src data:",
            "base-uri 'none'",
            "form-action 'none'",
        )
    )


def _digest(content: str) -> str:
    digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
    return f"'sha256-{digest}'"
