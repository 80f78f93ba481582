"""One component of a model folder: its files, what may be wrong with them, and loading it.

Everything is checked before it is loaded, so that a broken folder costs one line and no minutes.
"""

import os
import re
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from torch import nn

from diffusion4k.errors import Diffusion4kError
from diffusion4k.families.truncation import say_truncation_once
from diffusion4k.models.folder import (
    missing,
    needed_entry,
    read_json,
)
from diffusion4k.support.files import is_file_name
from diffusion4k.support.text_files import shortened

__all__ = [
    "SINGLE_FILE",
    "check_class",
    "check_config",
    "check_numbers",
    "check_tokenizer",
    "check_vocabulary",
    "check_weights",
    "load_component",
    "loaded_files",
    "loading",
    "named_class",
    "weight_files",
]

SINGLE_FILE = "single_file.safetensors"
"""The link to a file elsewhere that holds the weights, perhaps by its makers' names."""
_WEIGHTS = (
    ".safetensors",
    ".bin",
    ".msgpack",
    ".h5",
    ".onnx",
    ".onnx_data",
    ".ckpt",
    ".pt",
    ".gguf",
)
_LIBRARIES = ("diffusers", "transformers", "diffusion4k")
_COUNTED = re.compile(r"^n(?:um)?_(?:\w+_)?(?:layers|(?P<heads>heads))$")
_MOST_COUNTED = 1000  # layers or heads of a network
_MOST = 1 << 31
_VOCABULARIES = ("tokenizer.json", "vocab.json", "spiece.model", "tokenizer.model")


def check_weights(component: Path) -> None:
    """Refuse a component folder without configuration or with absent or damaged safetensors.

    Only headers are read, which shows a file of the wrong length or with a broken header.

    Raises:
        Diffusion4kError: names the file and what is wrong with it.
    """
    from safetensors import SafetensorError, safe_open

    if not component.is_dir():
        raise missing(component)
    check_numbers(component)
    files = weight_files(component)
    if not files:
        others = "other formats, and variants such as model.fp16.safetensors, are not read"
        raise missing(component, f".safetensors weights ({others})")
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


def check_numbers(component: Path) -> None:
    """Refuse a configuration with numbers that no model has: they would be built for hours.

    Raises:
        Diffusion4kError: names the file, the number and what is allowed.
    """
    path = component / "config.json"
    check_config(path, read_json(path))


def check_config(path: Path, config: dict[str, Any]) -> None:
    """The same of a configuration that stands in the file `path`."""

    def check(key: str, value: Any) -> None:
        if isinstance(value, dict):
            for name, inner in value.items():
                check(name, inner)
        elif isinstance(value, list):
            for inner in value:
                check(key, inner)
        elif value is not None and (counted := _COUNTED.search(key)):
            least = 1 if counted["heads"] else 0
            if type(value) is not int or not least <= value <= _MOST_COUNTED:
                raise Diffusion4kError(
                    f"{path}: {key} is {shortened(value)}: allowed is a whole number from {least} "
                    f"to {_MOST_COUNTED}"
                )
        elif isinstance(value, (int, float)) and not abs(value) < _MOST:
            raise Diffusion4kError(
                f"{path}: {key} is {shortened(value)}: allowed is a number below {_MOST}"
            )

    check("", config)


def weight_files(component: Path) -> list[Path]:
    """The safetensors files that diffusers or transformers load from a component's folder.

    Those of variants (`model.fp16.safetensors`), which the hub's cache may hold beside them, are
    none of them. A file that an index names may be absent; without weights the list is empty.

    Raises:
        Diffusion4kError: a damaged index.
    """
    for name in (SINGLE_FILE, "diffusion_pytorch_model.safetensors", "model.safetensors"):
        if os.path.lexists(component / name):
            return [component / name]
        index = component / f"{name}.index.json"
        if index.is_file():
            files = read_json(index).get("weight_map")
            if not isinstance(files, dict):
                raise Diffusion4kError(f"{index}: `weight_map` is missing: download it again")
            for file in files.values():
                # A name that leads elsewhere would have another file read, and fingerprinted.
                if not isinstance(file, str) or not is_file_name(file):
                    raise Diffusion4kError(
                        f"{index}: `weight_map` names {shortened(file)}: allowed are names of "
                        "files beside it: download it again"
                    )
            return sorted({component / file for file in files.values()})
    return []


def loaded_files(component: Path) -> list[Path]:
    """Files in a component's folder that decide what it computes: no weights that are not read.

    Raises:
        Diffusion4kError: a damaged index.
    """
    weights = weight_files(component)
    return sorted(
        path
        for path in component.rglob("*")
        if path.is_file() and (path in weights or not _holds_weights(path.name))
    )


def _holds_weights(name: str) -> bool:
    is_index = ".index." in name and not name.endswith(".safetensors.index.json")
    return name.endswith(_WEIGHTS) or is_index


def check_class(component: Path, allowed: Collection[str]) -> None:
    """Refuse a component whose own configuration names another class than its model needs.

    Raises:
        Diffusion4kError: names the class found and the one allowed.
    """
    found = read_json(component / "config.json").get("_class_name")
    if found is not None and found not in allowed:
        raise Diffusion4kError(
            f"{component / 'config.json'}: it is that of a {found}, allowed is "
            f"{' or '.join(allowed)}: the folder mixes two models: download it again from its "
            "source"
        )


def check_tokenizer(folder: Path, *, chat_template: bool = False) -> None:
    """Refuse a tokenizer without its vocabulary, in place of which transformers takes an empty one.

    Args:
        chat_template: whether it needs a chat template, too.

    Raises:
        Diffusion4kError: no such folder, none of the files that hold a vocabulary, or none that
            holds a chat template.
    """
    if not folder.is_dir():
        raise missing(folder)
    if not any((folder / name).is_file() for name in _VOCABULARIES):
        raise missing(folder, f"vocabulary ({', '.join(_VOCABULARIES)})")
    if chat_template and not _has_chat_template(folder):
        raise missing(folder, "chat template (chat_template.jinja, or a key of tokenizer_config)")


def _has_chat_template(folder: Path) -> bool:
    if any((folder / f"chat_template.{suffix}").is_file() for suffix in ("jinja", "json")):
        return True
    config = folder / "tokenizer_config.json"
    return config.is_file() and bool(read_json(config).get("chat_template"))


def check_vocabulary(folder: Path, tokenizer: Any, text_encoder: Any) -> None:
    """Refuse a tokenizer with special tokens that the text encoder lacks, by its configuration.

    transformers adds those that a vocabulary does not have, behind its end. Only those count that
    every text gets: T5's hundred further ones are in none.

    Raises:
        Diffusion4kError: names the folder.
    """
    known = getattr(text_encoder, "vocab_size", None)
    names = ("bos", "eos", "pad", "cls", "sep")
    ids = [getattr(tokenizer, f"{name}_token_id", None) for name in names]
    if known and max((number for number in ids if number is not None), default=0) >= known:
        raise Diffusion4kError(
            f"{folder}: has special tokens beyond the {known} of its text encoder, so that its "
            "vocabulary lacks some: download the model again from its source"
        )


def named_class(model: Path, component: str, allowed: Collection[str], whose: str) -> Any:
    """The class that the model's index names for a component.

    Nothing else than what is allowed is imported, whatever the index says: diffusers would run code
    from a model folder for some of its classes.

    Raises:
        Diffusion4kError: no class, or one that is not allowed.
    """
    library, found = needed_entry(model, component, whose)
    is_known = library in _LIBRARIES
    if found not in allowed or not is_known:
        named = found[:80] if is_known else f"{found[:80]} of {shortened(library)}"
        raise Diffusion4kError(
            f"{model / 'model_index.json'}: {component} is a {named}; {whose} have a "
            f"{' or '.join(allowed)}"
        )
    return getattr(import_module(library), found)


@contextmanager
def loading(path: Path) -> Iterator[None]:
    """Turn whatever a library raises while it loads `path` into one line that names `path`.

    The library's own progress bars are off meanwhile: they would break into ours. From then on what
    its pipelines warn of in each prompt is said once.
    """
    from transformers.utils import logging

    say_truncation_once()
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
