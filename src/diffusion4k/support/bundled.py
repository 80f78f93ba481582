"""What comes with the package and has a name: photographs, models, autoencoders."""

from pathlib import Path

__all__ = ["AUTOENCODERS", "MODELS", "PHOTOGRAPHS", "POCKET", "POCKET_BASE", "photo_folder"]

POCKET = "pocket"
POCKET_BASE = "pocket-base"

_FOLDER = Path(__file__).parents[1] / "pocket"

PHOTOGRAPHS = _FOLDER / "photographs"
"""An image folder with captions; its name, too, is `pocket`."""
MODELS = {POCKET: _FOLDER / "model", POCKET_BASE: _FOLDER / "base"}
AUTOENCODERS = {
    POCKET: MODELS[POCKET] / "vae",
    **{folder.name: folder for folder in sorted((_FOLDER / "autoencoders").glob("*"))},
}


def photo_folder(name: str | Path) -> Path:
    """The folder itself, or for `pocket` the one with the bundled photographs."""
    return PHOTOGRAPHS if str(name) == POCKET else Path(name)
