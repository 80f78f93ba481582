"""What a cached tensor depends on, as hashes: the keys by which it is found again.

    key of a text embedding  = H(caption, text encoders and tokenizers, family, dtype, format)
    key of latents           = H(image bytes, autoencoder, F, resolution, mirrored, dtype, format)

Whatever changes one of these gives another key, so that the entry is computed again; whatever
changes none of them (names, paths and times of files) does not.
"""

import contextlib
import hashlib
import json
from pathlib import Path

from diffusion4k.errors import Diffusion4kError
from diffusion4k.families import Family
from diffusion4k.families.base import model_settings
from diffusion4k.families.component import (
    loaded_files,
)
from diffusion4k.models.folder import (
    component_folder,
    has_component,
    model_index,
    read_json,
)
from diffusion4k.support.files import write_text
from diffusion4k.support.hashes import RememberedHashes, Stamp
from diffusion4k.support.text_files import json_of

__all__ = [
    "FORMAT",
    "FileHashes",
    "autoencoder_fingerprint",
    "latents_key",
    "text_encoders_fingerprint",
    "text_key",
]

FORMAT = 1
"""Version of what is stored: raised when the same input would give other tensors."""

_SUFFIXES = (".json", ".safetensors", ".txt", ".model")
# Notes that libraries leave in a configuration; they say nothing about what the model computes.
_NOTES = ("_name_or_path", "_diffusers_version", "transformers_version", "torch_dtype", "dtype")


class FileHashes(RememberedHashes):
    """Hashes that are remembered in a JSON file."""

    def __init__(self, memory: Path) -> None:
        self._memory = memory
        self._known = _read_memory(memory)
        self._used: dict[str, list[object]] = {}

    def _find(self, path: Path, stamp: Stamp) -> str | None:
        known = self._known.get(str(path))
        if not (isinstance(known, list) and known[:2] == list(stamp) and len(known) == 3):
            return None
        self._used[str(path)] = known
        return str(known[2])

    def _keep(self, path: Path, stamp: Stamp, digest: str) -> None:
        self._used[str(path)] = [*stamp, digest]

    def save(self) -> None:
        """Save the known hashes, if the disk lets us: they only save time."""
        if self._used != self._known:
            with contextlib.suppress(OSError):
                write_text(self._memory, json.dumps(self._used, indent=0))


def text_encoders_fingerprint(
    model: Path, hashes: FileHashes, max_sequence_length: int | None = None
) -> str:
    """Fingerprint of all tokenizers and text encoders of a model folder.

    The transformer's configuration counts too: it says how wide embeddings are where an encoder
    is left out; so does the length of the text, where it is given or the model states its own.
    """
    parts = sorted(
        name
        for name in model_index(model)
        if name.startswith(("text_encoder", "tokenizer")) and has_component(model, name)
    )
    content: dict[str, object] = {
        part: _component(component_folder(model, part), hashes) for part in parts
    }
    config = model / "transformer" / "config.json"
    content["transformer"] = _without_notes(read_json(config)) if config.exists() else None
    stated = model_settings(model).get("max_sequence_length")
    content["max_sequence_length"] = max_sequence_length or stated
    return _hash(content)


def autoencoder_fingerprint(model: Path, hashes: FileHashes) -> str:
    """Fingerprint of the autoencoder in a model folder."""
    return _hash(_component(component_folder(model, "vae"), hashes))


def text_key(caption: str, *, text_encoders: str, family: Family, dtype: str) -> str:
    """Key of a caption's conditioning; `text_encoders` is their fingerprint."""
    return _hash(
        {
            "format": FORMAT,
            "caption": caption,
            "text_encoders": text_encoders,
            "family": family.name,
            "dtype": dtype,
        }
    )


def latents_key(
    image: str,
    *,
    autoencoder: str,
    factor: int,
    resolution: int | tuple[int, int],
    mirrored: bool,
    dtype: str,
    posterior: bool = False,
    enlargement: int | None = None,
) -> str:
    """Key of a photograph's latents; `image` is its SHA-256, `autoencoder` its fingerprint.

    `resolution` is that of the shorter side, or width and height; `posterior`: the whole of it is
    stored and not its mean; `enlargement`: those of the enlarged draft are stored with them.
    """
    return _hash(
        {
            **({"posterior": True} if posterior else {}),
            **({"enlargement": enlargement} if enlargement else {}),
            "format": FORMAT,
            "image": image,
            "autoencoder": autoencoder,
            "factor": factor,
            "resolution": resolution,
            "mirrored": mirrored,
            "dtype": dtype,
        }
    )


def _component(folder: Path, hashes: FileHashes) -> dict[str, object]:
    if not folder.is_dir():
        raise Diffusion4kError(f"{folder}: no such folder: the model folder is incomplete")
    return {
        path.relative_to(folder).as_posix(): (
            _without_notes(read_json(path)) if path.name == "config.json" else hashes.sha256(path)
        )
        for path in loaded_files(folder)
        if path.suffix in _SUFFIXES
    }


def _without_notes(config: dict[str, object]) -> dict[str, object]:
    return {key: value for key, value in config.items() if key not in _NOTES}


def _read_memory(path: Path) -> dict[str, list[object]]:
    try:
        known = json_of(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return known if isinstance(known, dict) else {}


def _hash(content: object) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
