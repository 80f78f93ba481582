"""Whether two LoRA files change the same weights by the same amounts.

Each module of the original layout is looked at by itself, at its full size: what one file changes
in it, and what the other does, each laid out by the file's own keys as a program applies them.
Nothing of what divides and puts together layers is used.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from diffusion4k.errors import Diffusion4kError
from diffusion4k.lora import Adapter
from diffusion4k.lora.changes import Change
from diffusion4k.lora.naming import Group, grouped
from diffusion4k.original_names import OriginalNames

__all__ = ["TOLERANCE", "Proof", "prove"]

TOLERANCE = 1e-5
"""Largest difference of a weight's change, as a share of the module's largest change."""


@dataclass(frozen=True)
class Proof:
    """The outcome for one module."""

    module: str
    difference: float
    largest: float

    @property
    def relative(self) -> float:
        """The difference as a share of the largest change."""
        return self.difference / self.largest if self.largest else self.difference


def prove(source: Adapter, written: Adapter, table: OriginalNames | None) -> Iterator[Proof]:
    """Compare two files module by module.

    Raises:
        Diffusion4kError: a module that one of them does not change, or changes differently.
    """
    first, second = (grouped(a.changes, a.layout, table) for a in (source, written))
    for name in first.keys() ^ second.keys():
        where = source if name in first else written
        groups = first if name in first else second
        if _whole(groups[name]).any():
            raise Diffusion4kError(f"{where.path}: only this file changes {name}")
    for name, group in first.items():
        if name not in second:
            continue
        wanted, found = _whole(group), _whole(second[name])
        if wanted.shape != found.shape:
            raise Diffusion4kError(f"{written.path}: {name} has another size than in {source.path}")
        proof = Proof(name, float((wanted - found).abs().max()), float(wanted.abs().max()))
        if not proof.relative <= TOLERANCE:
            raise Diffusion4kError(
                f"{written.path}: {name} would change otherwise than in {source.path}, by "
                f"{proof.relative:.1e} of its largest change; allowed is {TOLERANCE:g}: nothing "
                "was written"
            )
        _same_magnitudes(group, second[name], name)
        yield proof


def _whole(group: Group) -> Tensor:
    """What is added to the original module's parameter, float32."""
    if group.whole:
        return group.whole.delta()
    rows = _rows(group)
    some = next(iter(group.parts.values()))
    delta = torch.zeros(rows[-1].stop, *some.shape[1:])
    for part, place in zip(group.module.parts, rows, strict=True):
        if part in group.parts:
            delta[place] = group.parts[part].delta()
    if group.module.swapped and delta.ndim == 2 and len(delta) == 2 * delta.shape[1]:
        delta = delta.roll(len(delta) // 2, 0)
    return delta


def _rows(group: Group) -> list[slice]:
    shares = group.module.shares or (1,) * len(group.module.parts)
    for part, share in zip(group.module.parts, shares, strict=True):
        if part in group.parts:
            return group.module.rows(group.parts[part].shape[0] // share * sum(shares))
    raise AssertionError("a group has at least one part")


def _same_magnitudes(first: Group, second: Group, name: str) -> None:
    ours, theirs = (_magnitude(group) for group in (first, second))
    if (ours is None) != (theirs is None) or (
        ours is not None and theirs is not None and not torch.equal(ours, theirs)
    ):
        raise Diffusion4kError(f"{name}: the DoRA magnitudes differ: nothing was written")


def _magnitude(group: Group) -> Tensor | None:
    changes: list[Change | None] = (
        [group.whole] if group.whole else [group.parts.get(part) for part in group.module.parts]
    )
    found = [c.magnitude.float() for c in changes if c is not None and c.magnitude is not None]
    if not found:
        return None
    joined = torch.cat(found)
    whole = _whole(group)
    if group.module.swapped and not group.whole and len(whole) == 2 * whole.shape[-1]:
        joined = joined.roll(len(joined) // 2, 0) if joined.shape[1] == 1 else joined
    return joined
