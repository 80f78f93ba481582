"""What distinguishes one layout of LoRA files from another."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from diffusion4k.original_names import OriginalNames

__all__ = ["LORA_A_B", "LORA_DOWN_UP", "Layout", "Writing"]

LORA_A_B = {"lora_A.weight": "lora_A.weight", "lora_B.weight": "lora_B.weight"}
LORA_DOWN_UP = {"lora_A.weight": "lora_down.weight", "lora_B.weight": "lora_up.weight"}
_ELSEWHERE = {
    "A": ("lora_A.default.weight", "lora_A", "lora.down.weight", "lora_linear_layer.down.weight"),
    "B": ("lora_B.default.weight", "lora_B", "lora.up.weight", "lora_linear_layer.up.weight"),
}
_ENDS = {
    **LORA_A_B,
    **{written: part for part, written in LORA_DOWN_UP.items()},
    **{end: f"lora_{side}.weight" for side, ends in _ELSEWHERE.items() for end in ends},
    "lora_B.bias": "bias of B",
    "alpha": "alpha",
    "dora_scale": "magnitude",
    "lora_magnitude_vector": "magnitude",
    "lora_magnitude_vector.weight": "magnitude",
    **{name: name for n in (1, 2) for each in "ab" for name in [f"hada_w{n}_{each}"]},
    **{name: name for n in (1, 2) for each in ("", "_a", "_b") for name in [f"lokr_w{n}{each}"]},
    "diff": "diff",
    "diff_b": "bias",
}
"""What stands under a key, by its end after the layer's name."""


@dataclass(frozen=True)
class Writing:
    """How a layout is written.

    Args:
        original: names of layers are those of the model's authors, and not diffusers'.
        alpha: a tensor beside each layer's, a part of B, or in PEFT's configuration file.
        kinds: of changes that it can hold.
        ends: of keys that differ from those of `changes`.
        biases: whether it can hold differences of biases.
    """

    original: bool
    alpha: Literal["tensor", "in B", "configuration"]
    kinds: tuple[str, ...]
    ends: Mapping[str, str]
    biases: bool = False


@dataclass(frozen=True)
class Layout:
    """A layout of files.

    Args:
        name: as `lora convert --layout` takes it.
        programs: those that write it.
        prefixes: one of which each key has; the first is written. With none, a key is a layer's
            name from its beginning.
        flat: in a layer's name `_` stands for `.`.
        within: what each key holds; a layout without it takes any key.
        ends: what stands under a key, by its end.
        names: of layers that it calls as no model does.
        writing: how it is written; None: it is only read.
    """

    name: str
    programs: str
    prefixes: tuple[str, ...] = ()
    flat: bool = False
    within: str = ""
    ends: Mapping[str, str] | None = None
    names: OriginalNames | None = None
    writing: Writing | None = None

    def part_of(self, key: str) -> tuple[str, str] | None:
        """The layer's name and what stands under a key; None: it is no key of the layout."""
        prefix = next((each for each in self.prefixes if key.startswith(each)), None)
        if (self.prefixes and prefix is None) or self.within not in key:
            return None
        rest = key.removeprefix(prefix or "")
        ends = _ENDS if self.ends is None else self.ends
        found = max((end for end in ends if rest.endswith(f".{end}")), key=len, default=None)
        return (rest.removesuffix(f".{found}"), ends[found]) if found else None

    def claims(self, key: str) -> bool:
        """Whether a key begins as those of the layout do, whatever stands under it."""
        begins = not self.prefixes or key.startswith(self.prefixes)
        return begins and self.within in key

    def key(self, layer: str, part: str) -> str:
        """The key of what stands at a layer; the layout must be one that is written."""
        assert self.writing
        layer = layer.replace(".", "_") if self.flat else layer
        prefix = self.prefixes[0] if self.prefixes else ""
        return f"{prefix}{layer}.{self.writing.ends.get(part, part)}"
