"""Model repositories of the Hugging Face hub, and its cache on this machine."""

import re
from collections.abc import Collection
from pathlib import Path
from typing import Any

from diffusion4k.errors import Diffusion4kError, UsageError
from diffusion4k.models.published import published_models
from diffusion4k.support.text_files import json_of

__all__ = [
    "INDEX",
    "SETTINGS",
    "cached_snapshot",
    "download",
    "hub_id_of",
    "is_hub_id",
    "published_parts_from",
]

INDEX = "model_index.json"
SETTINGS = "diffusion4k.json"

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
# The same weights in other formats or precisions: several times the download, never read.
_OTHER_WEIGHTS = ["*.bin", "*.msgpack", "*.onnx*", "*.fp16*.safetensors", "*.bf16*.safetensors"]


def is_hub_id(name: str) -> bool:
    """Whether a name has the form `owner/name`."""
    return _HUB_ID.fullmatch(name) is not None


def hub_id_of(folder: str) -> str | None:
    """The id of the model that the hub's cache keeps in a folder of that name; None if none."""
    prefix, *owner_and_name = folder.split("--", 2)
    return "/".join(owner_and_name) if prefix == "models" and owner_and_name else None


def published_parts_from(folder: Path) -> str | None:
    """The hub id that the other parts of a published model come from.

    None for models whose repository holds more than the transformer, and for folders outside the
    hub's cache.
    """
    models = published_models()
    hub_ids = [hub_id_of(part) for part in folder.parts]
    return next((models[i].get("parts_from") for i in hub_ids if i in models), None)


def cached_snapshot(hub_id: str) -> Path | None:
    """The folder of a pipeline in the hub's cache, without using the network."""
    from huggingface_hub import try_to_load_from_cache

    index = try_to_load_from_cache(hub_id, INDEX)
    return Path(index).parent if isinstance(index, str) else None


def download(
    hub_id: str, wanted: Collection[str] | None = None, *, transformer: bool = True
) -> Path:
    """The local folder of a hub id: downloaded to the hub's cache, or taken from there.

    Args:
        wanted: the components to have; by default all.
        transformer: whether the transformer is among them.

    Raises:
        UsageError: there is no such repository.
        Diffusion4kError: the licence is to be accepted first, the repository is no pipeline, or it
            is neither in the cache nor can the hub be reached.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        RemoteEntryNotFoundError,
        RepositoryNotFoundError,
    )

    wanted_file = f"its {INDEX}"
    try:
        found = Path(snapshot_download(hub_id, allow_patterns=[INDEX, SETTINGS]))
        components = set(wanted or _components(hub_id, found))
        wanted_file = "its weights"
        patterns = [
            f"{name}/*" for name in sorted(components) if transformer or name != "transformer"
        ]
        return Path(
            snapshot_download(
                hub_id,
                allow_patterns=[INDEX, SETTINGS, *patterns],
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
    except RemoteEntryNotFoundError as error:
        reason = f"the hub does not have a file of its list ({error}): try again later"
    except (HfHubHTTPError, OSError, ValueError) as error:
        reason = (
            f"not on this machine, and the hub cannot be reached ({type(error).__name__}) for "
            f"{wanted_file}: `hf download {hub_id}` where there is a network, then give that folder"
        )
    raise Diffusion4kError(f"{hub_id}: {reason}")


def _components(hub_id: str, folder: Path) -> list[str]:
    """Components of the repository whose index and settings are in `folder`."""
    if index := _object(hub_id, folder / INDEX):
        return [name for name in index if not name.startswith("_")]
    if _object(hub_id, folder / SETTINGS).get("parts_from") or published_parts_from(folder):
        return ["transformer"]
    raise Diffusion4kError(
        f"{hub_id}: the repository has no {INDEX}: it is not a model in diffusers layout; a "
        f'transformer alone needs beside it a {SETTINGS} that says {{"parts_from": "owner/name"}}'
    )


def _object(hub_id: str, path: Path) -> dict[str, Any]:
    """The JSON object in a file of the repository; empty if there is no such file."""
    try:
        content = json_of(path.read_bytes()) if path.is_file() else {}
    except ValueError:
        content = None
    if not isinstance(content, dict):
        raise Diffusion4kError(
            f"{hub_id}: its {path.name} is not a JSON object: the repository is damaged; use "
            "another"
        )
    return content
