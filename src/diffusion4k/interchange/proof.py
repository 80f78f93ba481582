"""Whether two LoRA files change the same weights by the same amounts.

Each module of the original layout is looked at by itself, at its full size: what one file changes
in it, and what the other does, each laid out by the file's own keys as a program applies them.
Nothing of what divides and puts together layers is used. Only where both hold the same tensors and
factor for the same module, nothing has to be computed.
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
        if _are_identical(_single(group), _single(second[name])):
            yield Proof(name, 0.0, 1.0)
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
        if not _same(_magnitude(group), _magnitude(second[name])):
            raise Diffusion4kError(
                f"{written.path}: the DoRA's lengths of {name} are not those of {source.path}: "
                "nothing was written"
            )
        yield proof


def _single(group: Group) -> Change | None:
    """The one change that the original module's is, where nothing was divided or exchanged."""
    is_one = len(group.module.parts) == 1 and not group.module.swapped
    return group.whole or (next(iter(group.parts.values())) if is_one else None)


def _are_identical(first: Change | None, second: Change | None) -> bool:
    if first is None or second is None or type(first) is not type(second):
        return False
    return (
        first.factor == second.factor
        and first.tensors.keys() == second.tensors.keys()
        and all(torch.equal(t, second.tensors[name]) for name, t in first.tensors.items())
        and _same(first.magnitude, second.magnitude)
    )


def _whole(group: Group) -> Tensor:
    """What is added to the original module's parameter, float32."""
    if group.whole:
        return group.whole.delta()
    shares = group.module.shares or (1,) * len(group.module.parts)
    some = next(iter(group.parts.values()))
    share = shares[group.module.parts.index(next(iter(group.parts)))]
    rows = group.module.rows(some.shape[0] // share * sum(shares))
    delta = torch.zeros(rows[-1].stop, *some.shape[1:])
    for part, place in zip(group.module.parts, rows, strict=True):
        if part in group.parts:
            delta[place] = group.parts[part].delta()
    return _in_original_order(delta, group, delta.shape[-1])


def _in_original_order(rows: Tensor, group: Group, columns: int) -> Tensor:
    if group.module.is_swapped(len(rows), columns):
        return rows.roll(len(rows) // 2, 0)
    return rows


def _magnitude(group: Group) -> Tensor | None:
    """The DoRA's lengths of the original module, if there are any."""
    if group.whole:
        return group.whole.magnitude
    parts = [group.parts[part] for part in group.module.parts if part in group.parts]
    found = [part.magnitude for part in parts if part.magnitude is not None]
    return _in_original_order(torch.cat(found), group, parts[0].shape[-1]) if found else None


def _same(first: Tensor | None, second: Tensor | None) -> bool:
    if first is None or second is None:
        return first is second
    return torch.equal(first, second)
