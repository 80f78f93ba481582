"""Model folders in diffusers layout: finding one, and where its parts are.

A folder holds `model_index.json`, which names the pipeline class and, per component, library and
class; each component has a sub-folder with a configuration and safetensors weights. Where
`diffusion4k.json` says `{"parts_from": "../other"}`, the folder holds a transformer alone and its
other components are those of that folder, bundled model or hub id (a published repository that is
so is entered in `configs/models.json`).
"""

from collections.abc import Collection
from pathlib import Path
from typing import Any

from diffusion4k.errors import Diffusion4kError, UsageError
from diffusion4k.models.hub import (
    INDEX,
    SETTINGS,
    cached_snapshot,
    download,
    hub_id_of,
    is_hub_id,
    published_parts_from,
)
from diffusion4k.models.published import published_hub_id
from diffusion4k.support.bundled import AUTOENCODERS, MODELS, POCKET, POCKET_BASE
from diffusion4k.support.text_files import json_of, shortened

__all__ = [
    "PARTS_FROM",
    "POCKET",
    "POCKET_BASE",
    "SETTINGS",
    "bundled_models",
    "component_folder",
    "components_of",
    "has_component",
    "index_entry",
    "is_model_folder",
    "missing",
    "model_index",
    "model_settings",
    "needed_entry",
    "parts_folder",
    "read_json",
    "resolve",
    "resolve_autoencoder",
    "transformer_config",
]

POCKET_FOLDER = MODELS[POCKET]
PARTS_FROM = "parts_from"


def bundled_models() -> dict[str, Path]:
    """The folders of the bundled models by name: `pocket` and `pocket-base`.

    The latter is the transformer that `pocket` was made from; its other parts are `pocket`'s.
    """
    return {POCKET: POCKET_FOLDER, POCKET_BASE: POCKET_FOLDER.with_name("base")}


def resolve(model: str | Path, parts: Collection[str] | None = None) -> Path:
    """The local folder of a model: bundled by name, a folder in diffusers layout, or a hub id.

    A hub id (`owner/name`) is downloaded to the hub's cache, or taken from there: wholly, or only
    the named parts. So are the parts that a folder takes from another repository.

    Raises:
        UsageError: no such model, or no `model_index.json` in the folder.
        Diffusion4kError: the hub is out of reach, or does not have what a model needs.
    """
    folder = bundled_models().get(str(model))
    if folder is not None:
        if not folder.is_dir():
            raise Diffusion4kError(
                f"{folder}: the model {model} is missing from this installation: install "
                "diffusion4k again, or name a model folder or a hub id"
            )
    elif Path(model).is_file():
        raise UsageError(
            f"{model}: a file, where a folder in diffusers layout is needed: `diffusion4k export "
            "FILE OUT` makes one of a .safetensors file, with `--part vae` of an autoencoder's"
        )
    elif Path(model).exists():
        folder = Path(model)
    elif isinstance(model, str) and is_hub_id(model):
        folder = download(model, parts)
    else:
        published = published_hub_id(str(model))
        named = f"{published}, its name on the hub, " if published else ""
        raise UsageError(
            f"{model}: no such model: give {named}`pocket`, a folder in diffusers layout, "
            "or a hub id like owner/name"
        )
    others = _parts_from(folder)
    if others and _named_folder(folder, others) is None and is_hub_id(others):
        download(others, parts, transformer=False)
    model_index(folder)
    return folder


def parts_folder(folder: Path) -> Path:
    """Where the components but the transformer are: `folder` itself, or what it names for them.

    Raises:
        Diffusion4kError: what it names is not on this machine.
    """
    others = _parts_from(folder)
    if others is None:
        return folder
    named = _named_folder(folder, others)
    if named is None and is_hub_id(others):
        named = cached_snapshot(others)
    if named is None:
        how = f"`hf download {others}` gets it" if is_hub_id(others) else "correct it"
        raise Diffusion4kError(
            f"{folder / SETTINGS}: {PARTS_FROM} is {others!r}, which is not a folder in "
            f"diffusers layout from there, not a bundled model, and not in the hub's cache: {how}"
        )
    return named


def component_folder(folder: Path, component: str) -> Path:
    """The sub-folder of a component, in the model's own folder or where its other parts are.

    Raises:
        Diffusion4kError: as `parts_folder`.
    """
    own = folder / component
    return own if component == "transformer" or own.exists() else parts_folder(folder) / component


def is_model_folder(folder: Path) -> bool:
    """Whether a folder claims to be a model: whole, or a transformer that names its other parts."""
    if (folder / INDEX).is_file():
        return True
    return (folder / "transformer").is_dir() and _parts_from(folder) is not None


def model_settings(folder: Path) -> dict[str, Any]:
    """What the folder's own `diffusion4k.json` states; empty if it has none.

    Raises:
        Diffusion4kError: it is not a JSON object.
    """
    path = folder / SETTINGS
    return read_json(path) if path.exists() else {}


def _parts_from(folder: Path) -> str | None:
    """The folder, bundled model or hub id that a model's other parts come from; None: it is whole.

    Raises:
        Diffusion4kError: it is stated, and not as a text.
    """
    stated = model_settings(folder).get(PARTS_FROM)
    if stated is not None and not (isinstance(stated, str) and stated):
        raise Diffusion4kError(
            f"{folder / SETTINGS}: {PARTS_FROM} is {stated!r}: allowed is a folder (relative to "
            "this one), a bundled model or a hub id"
        )
    return stated or published_parts_from(folder)


def _named_folder(folder: Path, others: str) -> Path | None:
    """The folder, if the name is that of a folder or a bundled model."""
    for named in (folder / others, bundled_models().get(others)):
        # One that takes its parts from elsewhere itself would make a chain, or a circle.
        if named is not None and (named / INDEX).is_file():
            return named
    return None


def resolve_autoencoder(model: str | Path) -> Path:
    """The folder of an autoencoder: bundled, by itself, or `vae` of whatever `resolve` knows.

    Bundled is `pocket-f8`, which has never seen F=16. `pocket`, the pocket model's own, was trained
    for it: its decoder by scale-consistent training.

    Raises:
        Diffusion4kError: as `resolve`.
    """
    folder = AUTOENCODERS.get(str(model), Path(model))
    if (folder / "config.json").is_file():
        return folder
    return component_folder(resolve(model, ["vae"]), "vae")


def model_index(folder: Path) -> dict[str, Any]:
    """The `model_index.json` of the folder, or of the one that its other parts come from.

    Raises:
        UsageError: the file is absent.
        Diffusion4kError: it is not a JSON object with `_class_name`.
    """
    path = folder / INDEX
    if not path.is_file():
        path = parts_folder(folder) / INDEX
    if not path.is_file():
        inner = folder / "model"
        hint = f"; {inner} is one" if is_model_folder(inner) else ""
        raise UsageError(
            f"{folder}: no {INDEX} in it{hint}: a model is a folder in diffusers layout, or a "
            f'transformer beside a {SETTINGS} that says {{"{PARTS_FROM}": "folder or owner/name"}}'
        )
    index = read_json(path)
    if not isinstance(index.get("_class_name"), str):
        raise Diffusion4kError(f"{path}: `_class_name` is missing: it names the pipeline class")
    return index


def components_of(folder: Path) -> list[str]:
    """Names in `model_index.json` of the components that the folder has.

    Beside them stand settings of the pipeline, which are no pair of names.
    """
    return [
        name
        for name, entry in model_index(folder).items()
        if isinstance(entry, list) and len(entry) == 2 and all(isinstance(e, str) for e in entry)
    ]


def has_component(folder: Path, component: str) -> bool:
    """Whether `model_index.json` names a class for `component` (absent and `null` mean no)."""
    return index_entry(folder, component) is not None


def index_entry(folder: Path, component: str) -> tuple[str, str] | None:
    """Library and class that `model_index.json` names for a component; None: it has none.

    Raises:
        Diffusion4kError: something else than two names stands there.
    """
    entry = model_index(folder).get(component)
    if entry in (None, [None, None]):
        return None
    if not (isinstance(entry, list) and len(entry) == 2 and all(isinstance(e, str) for e in entry)):
        raise Diffusion4kError(
            f"{folder / INDEX}: {component} is {shortened(entry)}: allowed is a list of library "
            "and class: download the model again from its source"
        )
    return entry[0], entry[1]


def needed_entry(folder: Path, component: str, whose: str) -> tuple[str, str]:
    """`index_entry` of a component that `whose` ("sd3 models") need.

    Raises:
        Diffusion4kError: also if there is none.
    """
    entry = index_entry(folder, component)
    if entry is None:
        raise Diffusion4kError(
            f"{folder / INDEX}: names no {component}, which {whose} need: take the model from "
            "its source again"
        )
    return entry


def missing(path: Path, what: str | None = None) -> Diffusion4kError:
    """The error of a file or folder that a model lacks; it says how to get it.

    `what` is lacking in the folder `path` if it is given.
    """
    kind = "file" if path.suffix else "folder"
    # The hub's cache: models--OWNER--NAME/snapshots/COMMIT/COMPONENT/FILE
    at = next((i for i, part in enumerate(path.parts) if hub_id_of(part)), None)
    if at is None or path.parts[at + 1 : at + 2] != ("snapshots",):
        how = "copy it from the model's source"
    else:
        hub_id = hub_id_of(path.parts[at])
        wanted = "/".join(path.parts[at + 3 :])
        how = f"`hf download {hub_id} --include '{wanted}{'' if path.suffix else '/*'}'` gets it"
    lack = f"no {what} in it" if what else f"no such {kind}"
    return Diffusion4kError(f"{path}: {lack}: the model folder is incomplete: {how}")


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object from a file.

    Raises:
        Diffusion4kError: no such file, or something else than a JSON object in it.
    """
    if not path.is_file():
        raise missing(path)
    try:
        content = json_of(path.read_bytes())
    except ValueError as error:
        raise Diffusion4kError(f"{path}: not valid JSON ({error})") from None
    if not isinstance(content, dict):
        raise Diffusion4kError(f"{path}: expected a JSON object, found {type(content).__name__}")
    return _Stated(path, content)


class _Stated(dict[str, Any]):
    """What a file states; the error about a missing key names the file."""

    def __init__(self, path: Path, content: dict[str, Any]) -> None:
        super().__init__(content)
        self._path = path

    def __missing__(self, key: str) -> Any:
        raise Diffusion4kError(
            f"{self._path}: `{key}` is missing: download the model again from its source"
        )


def transformer_config(folder: Path) -> dict[str, Any]:
    """The configuration of the model's transformer.

    Raises:
        Diffusion4kError: as `read_json`.
    """
    return read_json(folder / "transformer" / "config.json")
