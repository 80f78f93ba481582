"""One output folder, one demo: settings and model may not change while a folder is filled.

Stages take over what they find. Were another model or size let in, images of two runs would stand
in one folder and be measured as one.
"""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from diffusion4k.demo.settings import Demo
from diffusion4k.errors import UsageError
from diffusion4k.families import Family
from diffusion4k.sampling.fingerprint import fingerprint
from diffusion4k.support.files import write_text

__all__ = ["claim"]


def claim(demo: Demo, model: Path, family: Family) -> None:
    """Note in `demo.json` what the folder is for, or see that it is for this very demo.

    Raises:
        UsageError: the folder holds something else, or a demo with other settings or weights.
    """
    note = demo.out / "demo.json"
    if demo.out.exists() and not demo.out.is_dir():
        raise UsageError(f"{demo.out}: is a file, not a folder: choose another --out")
    wanted = demo.to_json() | {
        "model_fingerprint": fingerprint(model),
        "model_defaults": asdict(family.defaults(model)),
    }
    if note.exists():
        if changes := _changes(_read(note), wanted):
            raise UsageError(
                f"{note}: belongs to another demo: {', '.join(changes)}: choose another --out"
            )
    elif demo.out.exists() and any(demo.out.iterdir()):
        raise UsageError(f"{demo.out}: not empty and not a demo: choose another --out")
    else:
        write_text(note, json.dumps(wanted, indent=1) + "\n")


def _read(note: Path) -> dict[str, Any]:
    try:
        found = json.loads(note.read_bytes())
    except ValueError:
        found = None
    return found if isinstance(found, dict) else {}


def _changes(found: dict[str, Any], wanted: dict[str, Any]) -> list[str]:
    return [
        f"{name} was {found.get(name)}, is {value}"
        for name, value in wanted.items()
        if found.get(name) != value
    ]
