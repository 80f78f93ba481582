"""Which family and which published models a LoRA's header and sizes speak for."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache

from diffusion4k.lora.header import origin_of
from diffusion4k.models.published import published_config, published_models
from diffusion4k.original_names import original_names

__all__ = ["models_of_width", "stated_families", "width_of"]


@dataclass(frozen=True)
class _Published:
    hub_id: str
    family: str
    width: int


def width_of(shapes: Iterable[tuple[int, ...]]) -> int | None:
    """The model's width: the input size that most layers have."""
    sizes = Counter(shape[1] for shape in shapes if len(shape) == 2)
    return sizes.most_common(1)[0][0] if sizes else None


def models_of_width(width: int | None, family: str | None = None) -> list[str]:
    """The hub ids of published models of that width, all or those of a family."""
    return [
        model.hub_id
        for model in _published()
        if model.width == width and family in (None, model.family)
    ]


def stated_families(metadata: Mapping[str, str], shapes: Iterable[tuple[int, ...]]) -> list[str]:
    """The families that a file's header names, or else those with models of its layers' width.

    Raises:
        ValueError: the header is not understood.
    """
    said = origin_of(metadata).get("family")
    if said in original_names():
        return [said]
    architecture = metadata.get("modelspec.architecture", "").lower()
    for family, table in original_names().items():
        if table.architectures and architecture.startswith(table.architectures):
            return [family]
    width = width_of(shapes)
    return sorted({model.family for model in _published() if model.width == width})


@cache
def _published() -> list[_Published]:
    families = {table.pipeline_class: name for name, table in original_names().items()}
    found = []
    for hub_id, model in published_models().items():
        if family := families.get(model["pipeline_class"]):
            config = published_config(hub_id, "transformer")["config"]
            heads = config.get("num_attention_heads", 0) * config.get("attention_head_dim", 0)
            found.append(_Published(hub_id, family, config.get("dim", heads)))
    return found
