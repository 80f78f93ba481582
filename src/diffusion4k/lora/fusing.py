"""Layers that are several in one in the original layout: divided, and put together.

Of a LoRA that is one there, A is shared by its parts, and B's rows are divided. Where each part has
an A of its own, those of all stand one below the other, and B's blocks stand diagonally: the rank
is their sum. Both ways are exact, and so is the way back.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from diffusion4k.lora.changes import Change, Difference, LowRank, change_of
from diffusion4k.original_names import Module, Place

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["fuse", "parts_of", "scaled", "split"]


def parts_of(change: Change, place: Place) -> dict[str, Change]:
    """The changes of diffusers' layers that a change at a place is.

    Raises:
        ValueError: it cannot be divided.
    """
    return split(change, place.module) if place.part is None else {place.layers[0]: change}


def split(change: Change, module: Module) -> dict[str, Change]:
    """The changes of diffusers' layers that an original module's change is.

    Raises:
        ValueError: it cannot be divided.
    """
    change = _exchanged(change, module)
    if len(module.parts) == 1:
        return {module.parts[0]: change}
    places = module.rows(change.shape[0])
    own = _own_columns(change.up, places) if isinstance(change, LowRank) else None
    if own is None:
        return {part: change.rows(rows) for part, rows in zip(module.parts, places, strict=True)}
    assert isinstance(change, LowRank)
    found = {}
    for part, rows, ranks in zip(module.parts, places, own, strict=True):
        if ranks:
            block = change.rows(rows)
            tensors = {
                "lora_A.weight": change.down[ranks],
                "lora_B.weight": block.tensors["lora_B.weight"][:, ranks],
            }
            alpha = None if change.alpha is None else change.factor * len(ranks)
            found[part] = change_of(tensors, alpha=alpha, magnitude=block.magnitude)
    return found


def fuse(parts: Mapping[str, Change], module: Module) -> Change:
    """The change of an original module whose parts change so; absent ones do not change.

    Raises:
        ValueError: the layout has no form for it.
    """
    ours = [parts.get(part) for part in module.parts]
    there = [part for part in ours if part]
    return _exchanged(there[0] if len(module.parts) == 1 else _fused(ours, module), module)


def _exchanged(change: Change, module: Module) -> Change:
    """The change with the halves of its rows as the other layout has them."""
    if module.swapped and len(change.shape) != 2:
        raise ValueError(f"a bias of {module.name} cannot be told from one with exchanged halves")
    total, columns = change.shape[0], change.shape[-1]
    if not module.is_swapped(total, columns):
        return change
    half = total // 2
    return change.rows([*range(half, total), *range(half)])


def _fused(ours: Sequence[Change | None], module: Module) -> Change:
    import torch

    there = [part for part in ours if part]
    places = module.rows(_total(ours, module))
    if all(isinstance(part, Difference) for part in ours):
        return Difference({"diff": torch.cat([part.tensors["diff"] for part in there])})
    low = [part for part in there if isinstance(part, LowRank)]
    if len(low) < len(there):
        raise ValueError(
            f"its {there[0].kind} is of layers that are one there ({module.name}), which holds no "
            "such change of a part"
        )
    magnitude = _joined_magnitude(ours, module)
    downs = [part.down for part in low]
    first, factors = downs[0], [part.factor for part in low]
    is_shared = all(d.shape == first.shape and bool((d == first).all()) for d in downs[1:])
    if len(low) == len(ours) and is_shared and len(set(factors)) == 1:
        tensors = {"lora_A.weight": first, "lora_B.weight": torch.cat([p.up for p in low])}
        return change_of(tensors, alpha=low[0].alpha, magnitude=magnitude)
    rank = sum(part.rank for part in low)
    ups = [scaled(part.up, part.factor / factors[0]) for part in low]
    dtype = max((up.dtype for up in ups), key=lambda each: each.itemsize)
    up, done, blocks = torch.zeros(places[-1].stop, rank, dtype=dtype), 0, iter(ups)
    for part, rows in zip(ours, places, strict=True):
        if part:
            block = next(blocks)
            up[rows, done : done + block.shape[1]] = block.to(dtype)
            done += block.shape[1]
    alpha = None if all(part.alpha is None for part in low) else factors[0] * rank
    tensors = {"lora_A.weight": torch.cat(downs), "lora_B.weight": up}
    return change_of(tensors, alpha=alpha, magnitude=magnitude)


def _total(ours: Sequence[Change | None], module: Module) -> int:
    """Rows of the whole module, by those of a part that is there."""
    shares = module.shares or (1,) * len(module.parts)
    totals = {
        part.shape[0] * sum(shares) // share
        for part, share in zip(ours, shares, strict=True)
        if part
    }
    if len(totals) > 1:
        raise ValueError(f"its sizes are not those of the parts of {module.name}")
    return totals.pop()


def _joined_magnitude(ours: Sequence[Change | None], module: Module) -> "Tensor | None":
    import torch

    there = [None if part is None else part.magnitude for part in ours]
    magnitudes = [each for each in there if each is not None]
    if not magnitudes:
        return None
    if len(magnitudes) < len(ours) or any(m.shape[1] != 1 for m in magnitudes):
        raise ValueError(
            f"its DoRA would have to cover all parts of {module.name}, and scale their rows"
        )
    return torch.cat(magnitudes)


def scaled(tensor: "Tensor", factor: float) -> "Tensor":
    """The product, in float32 where half precision would round it."""
    import torch

    if factor == 1.0:
        return tensor
    exact = (tensor.float() * factor).to(tensor.dtype)
    is_exact = torch.equal(exact.float(), tensor.float() * factor)
    return exact if is_exact else tensor.float() * factor


def _own_columns(up: "Tensor", places: Sequence[slice]) -> list[list[int]] | None:
    """The columns of B that each part has for itself; None: some are of several parts."""
    owners = [[bool(each) for each in (up[rows] != 0).any(0)] for rows in places]
    rank, parts = len(owners[0]), range(len(owners))
    by_column = [[part for part in parts if owners[part][column]] for column in range(rank)]
    if any(len(owning) > 1 for owning in by_column) or not any(by_column):
        return None
    if rank % len(owners) == 0:
        size = rank // len(owners)
        if all(set(own) <= {column // size} for column, own in enumerate(by_column)):
            return [list(range(part * size, (part + 1) * size)) for part in parts]
    # A column of zeros belongs to its neighbours.
    filled = [own[0] if own else None for own in by_column]
    for order in (range(1, rank), range(rank - 2, -1, -1)):
        step = -1 if order.step > 0 else 1
        for column in order:
            if filled[column] is None:
                filled[column] = filled[column + step]
    return [[column for column in range(rank) if filled[column] == part] for part in parts]
