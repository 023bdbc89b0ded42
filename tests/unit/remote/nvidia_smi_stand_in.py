#!/usr/bin/env python3
"""Stands in for nvidia-smi of an A100, recorded, whose MIG slices can be cut: what it knows is in
state.json beside it, and every call is noted there. A `stuck` GPU changes its mode with a boot."""

import json
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
STATE = HERE / "state.json"
SIZES = {"1g.10gb": 1, "2g.20gb": 2, "3g.40gb": 3, "7g.80gb": 7}


def main(words: list) -> int:
    state = json.loads(STATE.read_text())
    state["calls"].append(" ".join(words))
    code = answer(words, state)
    STATE.write_text(json.dumps(state))
    return code


def answer(words: list, state: dict) -> int:
    if words == ["-q", "-x"]:
        shown = (HERE / "a100-mig.xml").read_text()
        mode = "Enabled" if state["mig"] else "Disabled"
        shown = shown.replace("<current_mig>Enabled", f"<current_mig>{mode}")
        print(shown.replace("</gpu>", state["processes"] + "</gpu>"))
    elif words == ["-L"]:
        print("GPU 0: NVIDIA A100-SXM4-80GB (UUID: GPU-513536b6-7d19-9063-b049-1e69664bb298)")
        for number, name in enumerate(state["slices"]):
            print(f"  MIG {name}     Device  {number}: (UUID: MIG-{number})")
    elif words[:3] == ["-i", "0", "-mig"]:
        if state["stuck"]:
            where = "for GPU 00000000:01:00.0:Not Supported"
            print("Warning: MIG mode is in pending enable state", where)
            print("Reboot the system or try nvidia-smi --gpu-reset to make MIG mode effective")
        else:
            state["mig"] = words[3] == "1"
    elif words == ["mig", "-i", "0", "-dgi"]:
        state["slices"] = []
    elif words[:4] == ["mig", "-i", "0", "-cgi"]:
        names = words[4].split(",")
        if not state["mig"] or sum(SIZES.get(name, 99) for name in names) > 7:
            print("Unable to create a GPU instance: Insufficient Resources", file=sys.stderr)
            return 15
        state["slices"] = names
    elif words != ["mig", "-i", "0", "-dci"]:
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
