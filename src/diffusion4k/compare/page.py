"""The page's folder: ours or none, its files, and its data as a script.

A page that is opened from a file may neither fetch data nor load modules, so that the data is a
script of its own, `data.js`, that sets one constant.
"""

import json
import shutil
from collections.abc import Iterable
from pathlib import Path

from diffusion4k import __version__, web
from diffusion4k.errors import UsageError
from diffusion4k.support.files import write_bytes, write_text

__all__ = ["TILES", "claim", "remove_others", "write_page"]

TILES = "tiles"
"""Folder of the tile pyramids."""

_LIBRARY = Path(web.__file__).parent / "static"
_NOTE = "diffusion4k-compare.json"
_OWN = Path(__file__).parent / "static"
_SHARED = ("page.css", "icon.svg", "linked.js", "openseadragon/openseadragon.min.js")


def claim(out: Path) -> None:
    """Note that the folder is a comparison's, or see that it is.

    Raises:
        UsageError: a file, or a folder that holds something else.
    """
    if out.exists() and not out.is_dir():
        raise UsageError(f"--out {out}: is a file, not a folder: choose another")
    if (out / _NOTE).is_file():
        return
    if out.exists() and any(path.name != ".lock" for path in out.iterdir()):
        raise UsageError(f"--out {out}: not empty and not a comparison: choose another")
    write_text(out / _NOTE, json.dumps({"diffusion4k": __version__}) + "\n")


def write_page(out: Path, data: dict[str, object]) -> Path:
    """Write everything but the tiles; the page itself comes last. Returns its path."""
    licence = _LIBRARY / "openseadragon" / "LICENSE.txt"
    write_bytes(out / "openseadragon-license.txt", licence.read_bytes())
    own = [path for path in sorted(_OWN.iterdir()) if path.name != "index.html"]
    for path in [*(_LIBRARY / name for name in _SHARED), *own]:
        write_bytes(out / path.name, path.read_bytes())
    text = json.dumps(data, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    write_text(out / "data.js", f"const COMPARISON = {text};\n")
    write_bytes(out / "index.html", (_OWN / "index.html").read_bytes())
    return out / "index.html"


def remove_others(out: Path, wanted: Iterable[str]) -> None:
    """Remove tiles that the page does not show: of images that have changed or gone."""
    names = set(wanted)
    for path in (out / TILES).iterdir():
        if path.name not in names:
            shutil.rmtree(path)
