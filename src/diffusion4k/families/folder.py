"""Model folders in diffusers layout: finding one, checking it, loading its parts.

A folder holds `model_index.json`, which names the pipeline class and, per component, library and
class; each component has a sub-folder with a configuration and safetensors weights.
Everything is checked before it is loaded, so that a broken folder costs one line and no minutes.
"""

import json
import re
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn

from diffusion4k.errors import Diffusion4kError, UsageError

__all__ = [
    "POCKET",
    "check_class",
    "check_tokenizer",
    "check_weights",
    "has_component",
    "hub_id_of",
    "load_component",
    "load_single_file",
    "loading",
    "missing",
    "model_index",
    "read_json",
    "resolve",
    "resolve_autoencoder",
    "transformer_config",
]

POCKET = "pocket"
POCKET_FOLDER = Path(__file__).parents[1] / "pocket" / "model"
AUTOENCODERS = POCKET_FOLDER.with_name("autoencoders")

_VOCABULARIES = ("tokenizer.json", "vocab.json", "spiece.model", "tokenizer.model")
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
# The same weights in other formats or precisions: several times the download, never read.
_OTHER_WEIGHTS = ["*.bin", "*.msgpack", "*.onnx*", "*.fp16*.safetensors", "*.bf16*.safetensors"]


def resolve(model: str | Path, parts: Collection[str] | None = None) -> Path:
    """The local folder of a model: `pocket`, a folder in diffusers layout, or a hub id.

    A hub id (`owner/name`) is downloaded to the hub's cache, or taken from there: wholly, or only
    the named parts.

    Raises:
        UsageError: no such model, or no `model_index.json` in the folder.
        Diffusion4kError: hub out of reach.
    """
    if str(model) == POCKET:
        folder = POCKET_FOLDER
        if not folder.is_dir():
            raise Diffusion4kError(
                f"{folder}: the pocket model is missing from this installation: install "
                "diffusion4k again, or name a model folder or a hub id"
            )
    elif Path(model).exists():
        folder = Path(model)
    elif isinstance(model, str) and _HUB_ID.fullmatch(model):
        folder = _download(model, parts)
    else:
        raise UsageError(
            f"{model}: no such model: give `pocket`, a folder in diffusers layout, "
            "or a hub id like owner/name"
        )
    model_index(folder)
    return folder


def resolve_autoencoder(model: str | Path) -> Path:
    """The folder of an autoencoder: bundled, by itself, or `vae` of whatever `resolve` knows.

    Bundled are `pocket-f8`, which has never seen F=16; `pocket-sc`, trained from it by
    scale-consistent training; and `pocket-partitioned`, trained at F=8 and F=16 together. `pocket`,
    the pocket model's own, has the encoder of the last and a decoder trained on at F=16.

    Raises:
        Diffusion4kError: as `resolve`.
    """
    for folder in (AUTOENCODERS / str(model), Path(model)):
        if (folder / "config.json").is_file():
            return folder
    return resolve(model, ["vae"]) / "vae"


def model_index(folder: Path) -> dict[str, Any]:
    """The folder's `model_index.json`.

    Raises:
        UsageError: the file is absent.
        Diffusion4kError: it is not a JSON object with `_class_name`.
    """
    path = folder / "model_index.json"
    if not path.is_file():
        raise UsageError(
            f"{folder}: no model_index.json in it: a model is a folder in diffusers layout"
        )
    index = read_json(path)
    if not isinstance(index.get("_class_name"), str):
        raise Diffusion4kError(f"{path}: `_class_name` is missing: it names the pipeline class")
    return index


def has_component(folder: Path, component: str) -> bool:
    """Whether `model_index.json` names a class for `component` (absent and `null` mean no)."""
    library, _ = model_index(folder).get(component) or (None, None)
    return library is not None


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


def hub_id_of(folder: str) -> str | None:
    """The id of the model that the hub's cache keeps in a folder of that name; None if none."""
    prefix, *owner_and_name = folder.split("--", 2)
    return "/".join(owner_and_name) if prefix == "models" and owner_and_name else None


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object from a file.

    Raises:
        Diffusion4kError: no such file, or something else than a JSON object in it.
    """
    if not path.is_file():
        raise missing(path)
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise Diffusion4kError(f"{path}: not valid JSON ({error})") from None
    if not isinstance(content, dict):
        raise Diffusion4kError(f"{path}: expected a JSON object, found {type(content).__name__}")
    return content


def transformer_config(folder: Path) -> dict[str, Any]:
    """The configuration of the model's transformer.

    Raises:
        Diffusion4kError: as `read_json`.
    """
    return read_json(folder / "transformer" / "config.json")


def check_weights(component: Path) -> None:
    """Refuse a component folder without configuration or with absent or damaged safetensors.

    Only headers are read: a file of wrong length or with a broken header is found in no time.

    Raises:
        Diffusion4kError: names the file and what is wrong with it.
    """
    from safetensors import SafetensorError, safe_open

    if not component.is_dir():
        raise missing(component)
    read_json(component / "config.json")
    files = sorted(component.glob("*.safetensors"))
    for index in component.glob("*.safetensors.index.json"):
        files += [component / name for name in set(read_json(index)["weight_map"].values())]
    if not files:
        raise missing(component, ".safetensors weights (other formats are not read)")
    for path in files:
        if not path.is_file():
            raise missing(path)
        try:
            with safe_open(path, framework="pt"):
                pass
        except SafetensorError as error:
            raise Diffusion4kError(
                f"{path}: damaged safetensors file ({error}): copy or download it again"
            ) from None


def check_class(component: Path, allowed: Collection[str]) -> None:
    """Refuse a component whose own configuration names another class than its model needs.

    Raises:
        Diffusion4kError: names the class found and the one allowed.
    """
    found = read_json(component / "config.json").get("_class_name")
    if found is not None and found not in allowed:
        raise Diffusion4kError(
            f"{component / 'config.json'}: it is of a {found}, allowed is {' or '.join(allowed)}: "
            "the folder mixes two models: take it from its source again"
        )


def check_tokenizer(folder: Path) -> None:
    """Refuse a tokenizer without its vocabulary, in place of which transformers takes an empty one.

    Raises:
        Diffusion4kError: no such folder, or none of the files that hold a vocabulary.
    """
    if not folder.is_dir():
        raise missing(folder)
    if not any((folder / name).is_file() for name in _VOCABULARIES):
        raise missing(folder, f"vocabulary ({', '.join(_VOCABULARIES)})")


@contextmanager
def loading(path: Path) -> Iterator[None]:
    """Turn whatever a library raises while it loads `path` into one line that names `path`.

    The library's own progress bars are off meanwhile: they would break into ours.
    """
    from transformers.utils import logging

    bars = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    except Diffusion4kError:
        raise
    except Exception as error:
        reason = " ".join(str(error).split())[:300] or type(error).__name__
        raise Diffusion4kError(f"{path}: cannot be loaded: {reason}") from error
    finally:
        if bars:
            logging.enable_progress_bar()


def load_component(
    model_class: Any, component: Path, *, dtype: torch.dtype, quantization: Any = None
) -> nn.Module:
    """A diffusers or transformers model in evaluation mode from its folder, complete or not at all.

    The libraries fill absent weights with random numbers and only log it; here it is an error.
    `quantization` is a quantisation configuration of diffusers.

    Raises:
        Diffusion4kError: absent, damaged, incomplete or unfitting weights.
    """
    check_weights(component)
    with loading(component):
        model, info = model_class.from_pretrained(
            component,
            torch_dtype=dtype,
            local_files_only=True,
            output_loading_info=True,
            **({"quantization_config": quantization} if quantization else {}),
        )
    if missing := sorted(info["missing_keys"]):
        raise Diffusion4kError(
            f"{component}: {len(missing)} weights are missing from it ({missing[0]}, ...): "
            f"it is not a complete {model_class.__name__}"
        )
    return model.eval()


def load_single_file(
    model_class: Any, file: Path, component: Path, *, dtype: torch.dtype, quantization: Any
) -> nn.Module:
    """A diffusers model from one GGUF file, of the configuration in the folder `component`.

    Raises:
        Diffusion4kError: the file cannot be read, or is of another model.
    """
    with loading(file):
        return model_class.from_single_file(
            str(file),
            config=str(component.parent),
            subfolder=component.name,
            quantization_config=quantization,
            torch_dtype=dtype,
            local_files_only=True,
        ).eval()


def _download(hub_id: str, wanted: Collection[str] | None) -> Path:
    from huggingface_hub import hf_hub_download, snapshot_download
    from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, RepositoryNotFoundError

    wanted_file = "its model_index.json"
    try:
        index = read_json(Path(hf_hub_download(hub_id, "model_index.json")))
        wanted_file = "its weights"
        parts = wanted or [name for name in index if not name.startswith("_")]
        return Path(
            snapshot_download(
                hub_id,
                allow_patterns=["model_index.json", *(f"{part}/*" for part in parts)],
                ignore_patterns=_OTHER_WEIGHTS,
            )
        )
    except GatedRepoError:
        reason = (
            f"gated: accept its licence at https://huggingface.co/{hub_id}, then log in with "
            f"`hf auth login` to get {wanted_file}"
        )
    except RepositoryNotFoundError:
        raise UsageError(
            f"{hub_id}: no such folder here and no such model on the hub: check the name"
        ) from None
    except (HfHubHTTPError, OSError, ValueError) as error:
        reason = (
            f"not on this machine, and the hub cannot be reached ({type(error).__name__}) for "
            f"{wanted_file}: `hf download {hub_id}` where there is a network, then give that folder"
        )
    raise Diffusion4kError(f"{hub_id}: {reason}")
