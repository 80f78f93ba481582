"""What a LoRA's file holds: layout, family, ranks, effect, record; without loading a model.

Neither torch nor diffusers is needed, and tensors are looked at one layer at a time.
"""

import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from diffusion4k.errors import Diffusion4kError
from diffusion4k.interchange.sizes import models_of_width, stated_families, width_of
from diffusion4k.lora.file import changes_of, find_file, stated_config
from diffusion4k.lora.header import CONFIG_KEY, RECORD_KEY
from diffusion4k.lora.keys import SortedKeys, sort_keys
from diffusion4k.lora.layouts import Layout
from diffusion4k.lora.naming import candidates
from diffusion4k.lora.stored import open_file
from diffusion4k.original_names import original_names
from diffusion4k.support.text_files import json_of

__all__ = ["LayerSummary", "Summary", "inspect"]

_TRIGGERS = (
    *("modelspec.trigger_phrase", "ss_trigger_words", "trigger_word", "trigger_words"),
    *("instance_prompt", "activation text"),
)
_TAGS = "ss_tag_frequency"
_MOST_TAGS = 5
_BLOCK = re.compile(r"(.*?\d+)[._](.+)")
_QUIET = ("format", CONFIG_KEY, RECORD_KEY, _TAGS, *_TRIGGERS)


@dataclass(frozen=True)
class LayerSummary:
    """One layer by diffusers' name or, where no table has it, the file's."""

    name: str
    kind: str
    rank: int | None
    alpha: float | None
    norm: float

    @property
    def block(self) -> str:
        """The block that it is in."""
        found = _BLOCK.fullmatch(self.name)
        return found[1] if found else self.name.partition(".")[0]

    @property
    def module(self) -> str:
        """Its name within a block."""
        found = _BLOCK.fullmatch(self.name)
        return found[2] if found else self.name


@dataclass(frozen=True)
class Summary:
    """What there is to say of a file."""

    path: Path
    size: int
    layout: Layout
    families: tuple[str, ...]
    width: int | None
    models: tuple[str, ...]
    dtypes: Mapping[str, int]
    layers: tuple[LayerSummary, ...]
    not_loaded: Mapping[str, str] = field(repr=False)
    """Keys that would not be loaded, and why."""
    triggers: tuple[str, ...]
    record: Mapping[str, Any]
    """What the header says of the training."""

    @property
    def norms(self) -> dict[str, float]:
        """The norm of the effect of each block: the root of the sum of its layers' squares."""
        squares: defaultdict[str, float] = defaultdict(float)
        for layer in self.layers:
            squares[layer.block] += layer.norm**2
        return {block: squares[block] ** 0.5 for block in sorted(squares, key=_by_number)}

    @property
    def ranks(self) -> Counter[str]:
        """How many layers have each kind, rank and alpha."""
        return Counter(
            layer.kind
            + (f", rank {layer.rank}" if layer.rank else "")
            + (f", alpha {layer.alpha:g}" if layer.alpha is not None and layer.rank else "")
            for layer in self.layers
        )

    @property
    def modules(self) -> Counter[str]:
        """How many layers there are of each name within a block."""
        return Counter(layer.module for layer in self.layers)

    def as_json(self) -> dict[str, Any]:
        """All of it, as JSON can hold it."""
        return {
            "path": str(self.path),
            "size": self.size,
            "layout": self.layout.name,
            "families": self.families,
            "width": self.width,
            "models": self.models,
            "dtypes": self.dtypes,
            "layers": [asdict(layer) for layer in self.layers],
            "norms": self.norms,
            "not_loaded": self.not_loaded,
            "triggers": self.triggers,
            "record": self.record,
            "command": self.command,
        }

    @property
    def command(self) -> str:
        """The command that brings it to a layout that other programs take."""
        layout = "comfyui" if self.layout.name == "diffusers" else "diffusers"
        target = self.path.with_name(f"{self.path.stem}-{layout}.safetensors")
        family = " --family FAMILY" if len(self.families) > 1 else ""
        return f"diffusion4k lora convert {self.path} {target} --layout {layout}{family}"


def inspect(place: str | Path) -> Summary:
    """Look at a LoRA's file.

    Raises:
        UsageError: no such file, or a pickle.
        Diffusion4kError: a damaged one, or one that is no LoRA of a known layout.
    """
    file = open_file(find_file(place))
    try:
        keys = sort_keys(file.shapes)
        config = stated_config(file.path, file.metadata, keys, file.shapes)
        table, names = _names(keys)
        layers, shapes = [], []
        for layer, parts in keys.layers.items():
            one = SortedKeys(keys.layout, {layer: parts})
            for key, change in changes_of(one, file.as_numpy, config).items():
                shapes.append(change.shape)
                name = names.get(layer, layer)
                bias = ".bias" if key.endswith(".bias") else ""
                alpha = change.factor * change.rank if change.rank else None
                layers.append(
                    LayerSummary(name + bias, change.kind, change.rank, alpha, change.norm())
                )
        stated = stated_families(file.metadata, shapes)
    except ValueError as error:
        raise Diffusion4kError(
            f"{file.path}: an incomplete, contradictory or unknown LoRA: {error}"
        ) from None
    families = candidates(keys.layers, keys.layout) or table
    families = [each for each in families if each in stated] or families
    width = width_of(shapes)
    return Summary(
        path=file.path,
        size=file.path.stat().st_size,
        layout=keys.layout,
        families=tuple(families),
        width=width,
        models=tuple(models_of_width(width, families[0])) if len(families) == 1 else (),
        dtypes=Counter(file.dtypes.values()),
        layers=tuple(layers),
        not_loaded=_not_loaded(keys, names, families),
        triggers=tuple(_triggers(file.metadata, keys)),
        record=_record(file.metadata),
    )


def _names(keys: SortedKeys) -> tuple[list[str], dict[str, str]]:
    """The family that has most of the layers, and the dotted names of those that it has."""
    tables = [keys.layout.names] if keys.layout.names else list(original_names().values())
    found = {
        table.family: {layer: place for layer in keys.layers if (place := table.find(layer))}
        for table in tables
    }
    family, places = max(found.items(), key=lambda each: len(each[1]))
    names = {
        layer: place.module.name if place.part is None else place.layers[0]
        for layer, place in places.items()
    }
    return ([family] if names else []), names


def _not_loaded(
    keys: SortedKeys, names: Mapping[str, str], families: Iterable[str]
) -> dict[str, str]:
    whose = " or ".join(families) or "known"
    text = "it is of a text encoder, and text encoders are left as they are"
    found = dict.fromkeys(keys.text, text)
    found |= dict.fromkeys(keys.others, f"it is no part of {keys.layout.name}'s layout")
    if keys.layout.flat or names:
        for layer, parts in keys.layers.items():
            if layer not in names:
                reason = f"no {whose} model has a layer {layer}"
                found |= dict.fromkeys(parts.values(), reason)
    return found


def _triggers(metadata: Mapping[str, str], keys: SortedKeys) -> Iterable[str]:
    """Words that bring out what was trained, as trainers note them, and the commonest tags."""
    yield from (metadata[key] for key in _TRIGGERS if metadata.get(key))
    yield from sorted({key.split(".")[1] for key in keys.text if key.startswith("bundle_emb.")})
    try:
        frequencies = json_of(metadata.get(_TAGS, "{}"))
        counts: Counter[str] = Counter()
        for tags in frequencies.values():
            counts.update({tag.strip(): int(count) for tag, count in tags.items()})
    except (AttributeError, TypeError, ValueError):
        return
    yield from (tag for tag, _ in counts.most_common(_MOST_TAGS))


def _record(metadata: Mapping[str, str]) -> dict[str, Any]:
    """The record of what was trained here, and the header's other texts."""
    ours = json.loads(metadata.get(RECORD_KEY, "{}"))
    return ours | {key: text for key, text in metadata.items() if key not in _QUIET}


def _by_number(block: str) -> list[tuple[int, str]]:
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", block)]
