"""Published models at full size without their weights: built from their configurations.

`configs/models.json` says of which parts each known checkpoint is made, `configs/PART.json` class
and configuration of each, as the hub's `config.json` has them (what does not change the network is
left out).
"""

import importlib
import json
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from diffusion4k.errors import UsageError

if TYPE_CHECKING:
    import torch
    from torch import nn

__all__ = [
    "build_published",
    "count_parameters",
    "known_id",
    "published_config",
    "published_hub_id",
    "published_models",
    "write_configurations",
]

_CONFIGS = Path(__file__).with_name("configs")


@cache
def published_models() -> dict[str, dict[str, Any]]:
    """Models by hub id.

    Of each: `pipeline_class`, `components` (only what distinguishes models), `scheduler`, and what
    else its index states as `settings`; `parts_from` is the repository that holds all but the
    transformer, where the model's own holds nothing else.
    """
    return _read("models")


def published_config(hub_id: str, component: str) -> dict[str, Any]:
    """`class` and `config` of one component of a published model.

    Raises:
        UsageError: no such model or component is known.
    """
    parts = _model(hub_id)["components"]
    if component not in parts:
        raise UsageError(f"{hub_id}: has no {component}; it has {', '.join(parts)}")
    return _read(parts[component])


def published_hub_id(name: str) -> str | None:
    """The hub id of a published model by that id, its last part, or its transformer's name."""
    wanted = name.lower()
    for hub_id, model in published_models().items():
        short = hub_id.partition("/")[2]
        if wanted in (hub_id.lower(), short.lower(), model["components"]["transformer"]):
            return hub_id
    return None


def known_id(name: str) -> str:
    """The same.

    Raises:
        UsageError: none is called so.
    """
    if hub_id := published_hub_id(name):
        return hub_id
    raise UsageError(
        f"{name}: no such folder, and not a model whose sizes are known: give `pocket`, a folder "
        f"in diffusers layout, or one of {', '.join(published_models())}"
    )


def build_published(
    hub_id: str, component: str, device: "str | torch.device" = "meta", dtype: Any = None
) -> "nn.Module":
    """One component of a published model, without its weights.

    On the `meta` device it takes no memory; elsewhere the weights are random.

    Raises:
        UsageError: no such model or component is known.
    """
    import torch

    part = published_config(hub_id, component)
    library, _, name = part["class"].rpartition(".")
    part_class = getattr(importlib.import_module(library), name)
    with torch.device(device):
        if library == "diffusers":
            built = part_class(**part["config"])
        else:
            built = part_class(part_class.config_class(**part["config"]))
    return built.to(dtype) if dtype else built


def write_configurations(hub_id: str, folder: Path) -> None:
    """Lay a published model out as a model folder without weights and tokenizers.

    Raises:
        UsageError: no such model is known.
    """
    model = _model(hub_id)
    index = {"_class_name": model["pipeline_class"]} | model.get("settings", {})
    files = {"scheduler/scheduler_config.json": model["scheduler"]}
    for component in model["components"]:
        part = published_config(hub_id, component)
        index[component] = part["class"].split(".")
        files[f"{component}/config.json"] = part["config"]
    for name, content in {**files, "model_index.json": index}.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(content), encoding="utf-8")


def count_parameters(module: "nn.Module") -> int:
    """Number of parameters, those that are shared once."""
    return sum(parameter.numel() for parameter in module.parameters())


def _model(hub_id: str) -> dict[str, Any]:
    models = published_models()
    if hub_id not in models:
        raise UsageError(f"{hub_id}: not a known checkpoint; known: {', '.join(models)}")
    return models[hub_id]


def _read(name: str) -> dict[str, Any]:
    return json.loads((_CONFIGS / f"{name}.json").read_text(encoding="utf-8"))
