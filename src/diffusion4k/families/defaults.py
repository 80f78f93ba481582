"""How a model is sampled where nothing else is said: by its family, or as its folder states."""

from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from diffusion4k.errors import Diffusion4kError
from diffusion4k.models.folder import SETTINGS, model_settings
from diffusion4k.models.hub import hub_id_of
from diffusion4k.support.text_files import shortened

__all__ = [
    "Checkpoint",
    "Defaults",
    "known_defaults",
    "model_defaults",
    "model_memory",
    "model_text_tokens",
]

_MOST_TEXT_TOKENS = 1 << 15


@dataclass(frozen=True)
class Defaults:
    """Sampling defaults of a family, or of one model where its folder states its own."""

    steps: int
    guidance: float
    width: int
    height: int


@dataclass(frozen=True)
class Checkpoint:
    """A published model of a family."""

    hub_id: str
    licence: str
    gated: bool = False
    """The licence must be accepted on the hub before it can be downloaded."""
    defaults: Defaults | None = None
    """Where configurations do not tell the model from one that is sampled otherwise."""
    note: str = ""
    """What is special about it."""
    needs: str = ""
    """What its makers' own code does and no class of diffusers or of ours: without it the model
    does not make the images that they show."""


def known_defaults(model: Path, checkpoints: tuple[Checkpoint, ...]) -> Defaults | None:
    """Defaults of a known checkpoint, if the folder is the hub's cache of it."""
    ids = {hub_id_of(part) for part in model.parts}
    return next((each.defaults for each in checkpoints if each.hub_id in ids), None)


def model_defaults(model: Path, family: Defaults) -> Defaults:
    """The family's defaults with those that the folder's own `diffusion4k.json` states.

    The file is a JSON object; of its keys `steps`, `guidance`, `width` and `height` count here.

    Raises:
        Diffusion4kError: a value that is not a positive number (guidance may be 0: off).
    """
    path, stated = model / SETTINGS, model_settings(model)
    own = {field.name: stated[field.name] for field in fields(Defaults) if field.name in stated}
    for key, value in own.items():
        kinds = (int, float) if key == "guidance" else (int,)
        least = 0 if key == "guidance" else 1
        if isinstance(value, bool) or not isinstance(value, kinds) or not least <= value < 1 << 31:
            raise Diffusion4kError(
                f"{path}: {key} is {shortened(value)}: allowed is a number >= {least}"
            )
    return replace(family, **own)


def model_memory(model: Path) -> int | str | None:
    """What the folder's own `diffusion4k.json` states as `max_memory`: bytes or `"512MiB"`.

    It limits the autoencoder's feature maps by default.

    Raises:
        Diffusion4kError: neither a whole number nor a text.
    """
    found: int | str | None = model_settings(model).get("max_memory")
    if isinstance(found, bool) or not isinstance(found, (int, str, type(None))):
        raise Diffusion4kError(
            f"{model / SETTINGS}: max_memory is {found!r}: allowed is a size like 512MiB"
        )
    return found


def model_text_tokens(model: Path) -> int | None:
    """What the folder's own `diffusion4k.json` states as `max_sequence_length`; None: nothing.

    Raises:
        Diffusion4kError: no whole number, or none that a text encoder takes.
    """
    stated: Any = model_settings(model).get("max_sequence_length")
    if stated is not None and not (type(stated) is int and 1 <= stated <= _MOST_TEXT_TOKENS):
        raise Diffusion4kError(
            f"{model / SETTINGS}: max_sequence_length is {shortened(stated)}: allowed is a whole "
            f"number from 1 to {_MOST_TEXT_TOKENS}"
        )
    return stated
