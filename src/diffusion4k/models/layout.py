"""The original layout of a network: its makers' names of layers, some of which are several in one.

diffusers renames the layers of a checkpoint, divides fused ones (query, key and value in one
matrix), and exchanges the halves of some (scale and shift). A `Layout` works both ways: of a
network's own names and shapes it says which tensors the original layout has, and each of them can
`join` ours and `split` into them again, bit by bit. The names of base models stand in
`original_names`.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from math import prod

import torch
from torch import Tensor

from diffusion4k.original_names import original_names

__all__ = ["Fused", "Layout", "LayoutError", "Rule", "original_layout"]

_END = r"(?P<end>\.weight|\.bias)?"


class LayoutError(ValueError):
    """Names that a layout does not have."""


@dataclass(frozen=True)
class Rule:
    """How one tensor of the original layout is made.

    Attributes:
        ours: names in diffusers, joined in this order along the first axis.
        halves_swapped: the halves stand the other way round (shift, scale: scale, shift), where
            the weight has twice as many rows as columns: where it is such a pair.
        pointwise: a 1x1 convolution that is a linear layer in diffusers.
    """

    ours: tuple[str, ...]
    halves_swapped: bool = False
    pointwise: bool = False


@dataclass(frozen=True)
class Fused:
    """A tensor of the original layout, and those of the network that it consists of."""

    name: str
    parts: tuple[str, ...]
    part_shapes: tuple[tuple[int, ...], ...]
    halves_swapped: bool
    shape: tuple[int, ...]

    def join(self, parts: Sequence[Tensor]) -> Tensor:
        """The tensor of the original layout."""
        whole = torch.cat(list(parts)) if len(parts) > 1 else parts[0]
        return _swapped(whole, self.halves_swapped).reshape(self.shape)

    def split(self, whole: Tensor) -> list[Tensor]:
        """The network's tensors."""
        rows = [shape[0] if shape else 1 for shape in self.part_shapes]
        pieces = _swapped(whole, self.halves_swapped).split(rows) if whole.ndim else [whole]
        return [p.reshape(shape) for p, shape in zip(pieces, self.part_shapes, strict=True)]


class Layout:
    """The table of a network's original layout.

    Args:
        rules: by original name, what it is in diffusers: a name, several, or a `Rule`. `{i}` and
            `{j}` stand for numbers, `{-i}` for blocks counted from the end; what ends with neither
            `.weight` nor `.bias` stands for both. The first line that fits counts.
        prefix: what stands before each name in a file of the whole model.
        keeps: whether names that no line fits are the same in both layouts.
        extra: names that files may have and diffusers does without.
    """

    def __init__(
        self,
        rules: Mapping[str, str | tuple[str, ...] | Rule],
        *,
        prefix: str = "model.diffusion_model.",
        keeps: bool = False,
        extra: Iterable[str] = (),
    ) -> None:
        self.prefix = prefix
        self._keeps = keeps
        self.extra = frozenset(extra)
        self._rules = {name: _rule(each) for name, each in rules.items()}

    def fused(self, shapes: Mapping[str, tuple[int, ...]]) -> list[Fused]:
        """The tensors of the original layout, in the network's order.

        Raises:
            LayoutError: a name that no line fits, or one part of a fused layer without another.
        """
        patterns = self._patterns(shapes)
        found: dict[str, tuple[Rule, list[str | None]]] = {}
        for name in shapes:
            original, rule, position = self._original(name, patterns)
            entry = found.setdefault(original, (rule, [None] * len(rule.ours)))
            entry[1][position] = name
        return [_fused(name, rule, parts, shapes) for name, (rule, parts) in found.items()]

    def is_original(self, name: str) -> bool:
        """Whether a name is one of the original layout, without prefix, and not of diffusers."""
        return any(re.fullmatch(_regex(each) + _END, name) for each in self._rules)

    def is_ours(self, name: str) -> bool:
        """Whether a name is one of diffusers that has another in the original layout."""
        return any(
            re.fullmatch(_regex(part) + _END, name)
            for rule in self._rules.values()
            for part in rule.ours
        )

    def _patterns(self, names: Iterable[str]) -> list[tuple[re.Pattern[str], str, Rule, int, int]]:
        """Of each part of each rule: what fits it, the original name, its place, and the blocks."""
        patterns = []
        for original, rule in self._rules.items():
            for position, part in enumerate(rule.ours):
                pattern = re.compile(_regex(part) + _END)
                patterns.append((pattern, original, rule, position, _blocks(part, names)))
        return patterns

    def _original(
        self, name: str, patterns: list[tuple[re.Pattern[str], str, Rule, int, int]]
    ) -> tuple[str, Rule, int]:
        for pattern, target, rule, position, blocks in patterns:
            if found := pattern.fullmatch(name):
                for key, value in found.groupdict().items():
                    if key != "end":
                        target = target.replace(f"{{{key}}}", value)
                        target = target.replace(f"{{-{key}}}", str(blocks - 1 - int(value)))
                return target + (found["end"] or ""), rule, position
        if self._keeps:
            return name, Rule((name,)), 0
        raise LayoutError(f"{name} has no name in the original layout")


@cache
def original_layout(family: str) -> Layout | None:
    """The original layout of a family's transformers; None where none is known."""
    names = original_names().get(family)
    if names is None:
        return None
    rules: dict[str, str | tuple[str, ...] | Rule] = {}
    for module in names.modules:
        # A weight by another name, as `scale`, has no bias beside it.
        ends = ("", "") if module.weight == "weight" else (f".{module.weight}", ".weight")
        ours = tuple(_numbered(part) + ends[1] for part in module.parts)
        rules[_numbered(module.name) + ends[0]] = Rule(ours, module.swapped)
    rules |= {_numbered(theirs): _numbered(ours) for theirs, ours in names.parameters}
    return Layout(rules, extra=names.extra)


def _numbered(name: str) -> str:
    return name.replace("{}", "{i}")


def _rule(value: str | tuple[str, ...] | Rule) -> Rule:
    if isinstance(value, Rule):
        return value
    return Rule((value,) if isinstance(value, str) else value)


def _regex(name: str) -> str:
    found = re.escape(name)
    for key in "ij":
        found = found.replace(rf"\{{{key}\}}", rf"(?P<{key}>\d+)")
    return found.replace(r"\{\-i\}", r"\d+")


def _blocks(part: str, names: Iterable[str]) -> int:
    """How many blocks there are where the first number of a name stands."""
    prefix = re.split(r"\{", part, maxsplit=1)[0]
    if prefix == part:
        return 0
    numbers = (name.removeprefix(prefix).partition(".")[0] for name in names if prefix in name)
    return max((int(each) + 1 for each in numbers if each.isdigit()), default=0)


def _fused(
    name: str, rule: Rule, parts: Sequence[str | None], shapes: Mapping[str, tuple[int, ...]]
) -> Fused:
    there = tuple(part for part in parts if part is not None)
    if len(there) < len(parts):
        raise LayoutError(f"{name}: found {', '.join(there)} without the rest of it")
    part_shapes = tuple(tuple(shapes[part]) for part in there)
    first = part_shapes[0]
    shape = (sum(each[0] for each in part_shapes), *first[1:]) if len(there) > 1 else first
    if rule.pointwise and name.endswith(".weight"):
        shape = (*shape, 1, 1)
    assert prod(shape) == sum(map(prod, part_shapes)), name
    swapped = rule.halves_swapped and _is_pair(there[0], shapes)
    return Fused(name, there, part_shapes, swapped, shape)


def _is_pair(name: str, shapes: Mapping[str, tuple[int, ...]]) -> bool:
    """Whether the layer of a weight or bias has twice as many rows as columns."""
    weight = shapes[f"{name.rpartition('.')[0]}.weight"]
    return weight[0] == 2 * weight[1]


def _swapped(tensor: Tensor, wanted: bool) -> Tensor:
    return torch.cat(tensor.chunk(2)[::-1]) if wanted else tensor
