"""The stand-in's `k3s crictl`: remembers the names of images and pulls nothing."""

from __future__ import annotations

import json
import sys

from provisioner.lab.standins.k3s_files import load_server, write_private


def main(words: list[str]) -> int:
    """`pull IMAGE`, and `inspecti -q IMAGE`, which fails for one that was not pulled."""
    path = load_server().data / "agent" / "stand-in-images.json"
    known: list[str] = json.loads(path.read_text()) if path.exists() else []
    if words[:1] == ["pull"] and len(words) == 2:
        write_private(path, json.dumps(sorted({*known, words[1]})))
        print(f"Image is up to date for {words[1]} (k3s-stand-in: not pulled)")
        return 0
    if words[:2] == ["inspecti", "-q"] and len(words) == 3:
        if words[2] in known:
            return 0
        print(f'FATA[0000] no such image "{words[2]}" present', file=sys.stderr)
        return 1
    print("k3s-stand-in: crictl knows only pull and inspecti -q", file=sys.stderr)
    return 1
