"""A picture of a terminal for documents, from the ANSI text of a run."""

from __future__ import annotations

import io
import re

from rich.console import Console
from rich.text import Text

from provisioner.secrets import mask


def picture(ansi: str, title: str, width: int = 100) -> str:
    """An SVG of `ansi` (colours, no cursor movement), which fetches nothing when it is shown."""
    console = Console(record=True, file=io.StringIO(), width=width, force_terminal=True)
    console.print(Text.from_ansi(mask(ansi)), highlight=False, soft_wrap=False)
    return without_fonts(console.export_svg(title=title))


def without_fonts(svg: str) -> str:
    """The SVG, which then takes a font that is there and fetches none."""
    return re.sub(r"@font-face\s*\{.*?\}\s*", "", svg, flags=re.DOTALL)
