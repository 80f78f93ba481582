"""The keys of a LoRA's file sorted: whose layout they are of, which layers and which parts.

Nothing but names is looked at here.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

from diffusion4k.lora.layouts import Layout, layouts

__all__ = ["SortedKeys", "sort_keys"]

_TEXT_ENCODERS = (
    *("text_encoder", "lora_te", "te1.", "te2.", "te3.", "clip_l.", "clip_g.", "t5xxl."),
    "bundle_emb",
)


@dataclass
class SortedKeys:
    """The keys of one file.

    Args:
        layout: that of all keys of the transformer.
        layers: by the layer's name as the file has it, its keys by what stands there.
        text: keys of text encoders and of embeddings bundled with the LoRA.
        others: keys that are no part of the layout.
    """

    layout: Layout
    layers: dict[str, dict[str, str]] = field(default_factory=dict)
    text: list[str] = field(default_factory=list)
    others: list[str] = field(default_factory=list)


def sort_keys(keys: Iterable[str]) -> SortedKeys:
    """Sort the keys of a file.

    Raises:
        ValueError: keys of two layouts, two keys for one thing, or none of a transformer.
    """
    text, claimed = [], dict[str, list[str]]()
    for key in keys:
        if key.startswith(_TEXT_ENCODERS):
            text.append(key)
        else:
            owner = next(name for name, layout in layouts().items() if layout.claims(key))
            claimed.setdefault(owner, []).append(key)
    if not claimed:
        raise ValueError("found nothing for a transformer")
    known = {
        name: len(found)
        for name, found in claimed.items()
        if any(layouts()[name].part_of(key) for key in found)
    }
    if len(known) > 1:
        examples = [f"{claimed[name][0]} ({name})" for name in known]
        raise ValueError(
            f"keys of {len(known)} layouts in one file: {' and '.join(examples)}: keep those of one"
        )
    layout = layouts()[next(iter(known or claimed))]
    found = SortedKeys(layout, text=text)
    for name, owned in claimed.items():
        for key in owned:
            part = layout.part_of(key) if name == layout.name else None
            if part is None:
                found.others.append(key)
                continue
            layer = found.layers.setdefault(part[0], {})
            if part[1] in layer:
                raise ValueError(f"{layer[part[1]]} and {key} are the same")
            layer[part[1]] = key
    return found
