"""How a model's authors name the modules that diffusers names otherwise.

Such a table serves checkpoints and LoRAs alike, in both directions. An original module may hold
several of diffusers' in one: their rows stand one below the other. A block's number is `{}` on both
sides.
"""

import re
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

__all__ = ["Module", "OriginalNames", "Place"]

_BLOCK = re.compile(r"([a-zA-Z_.]*?[a-zA-Z])[._](\d+)[._](.+)")


@dataclass(frozen=True)
class Module:
    """One module of the original layout.

    `parts` are diffusers' modules that it holds, `shares` how many rows each has in proportion.
    The rows of a module with `swapped` stand in diffusers in two halves the other way round (shift
    and scale, where diffusers has scale and shift), wherever there are twice as many rows as
    columns. `weight` is the parameter that diffusers calls `weight`.
    """

    name: str
    parts: tuple[str, ...]
    shares: tuple[int, ...] = ()
    swapped: bool = False
    weight: str = "weight"

    def is_swapped(self, rows: int, columns: int) -> bool:
        """Whether a weight `(rows, columns)` has its halves the other way round in diffusers."""
        return self.swapped and rows == 2 * columns

    def rows(self, total: int) -> list[slice]:
        """The rows of each part in a weight of `total` rows.

        Raises:
            ValueError: they cannot be divided so.
        """
        shares = self.shares or (1,) * len(self.parts)
        if total % sum(shares):
            raise ValueError(
                f"{self.name} holds {' + '.join(map(str, shares))} equal parts, and {total} rows "
                "cannot be divided so"
            )
        ends = [0]
        for share in shares:
            ends.append(ends[-1] + total // sum(shares) * share)
        return [slice(*pair) for pair in pairwise(ends)]

    def of_block(self, block: str) -> "Module":
        """The module of one block, with its number in all names."""
        parts = tuple(part.format(block) for part in self.parts)
        return Module(self.name.format(block), parts, self.shares, self.swapped, self.weight)


@dataclass(frozen=True)
class Place:
    """Where a name leads: to one part of a module by diffusers' name, or to the original module."""

    module: Module
    part: int | None = None
    """None: the original module."""

    @property
    def layers(self) -> tuple[str, ...]:
        """The modules of diffusers that it is."""
        return self.module.parts if self.part is None else (self.module.parts[self.part],)


@dataclass(frozen=True)
class OriginalNames:
    """The table of one family.

    Args:
        family: as in `families`.
        modules: all that hold weights.
        parameters: original names and diffusers' of those that are of no such module.
        extra: parameters that files may hold and diffusers does without.
        pipeline_class: of diffusers, by which published models are known.
        architectures: how `modelspec.architecture` in a file's header begins.
    """

    family: str
    modules: tuple[Module, ...]
    parameters: tuple[tuple[str, str], ...] = ()
    extra: tuple[str, ...] = ()
    pipeline_class: str = ""
    architectures: tuple[str, ...] = ()

    def find(self, name: str) -> Place | None:
        """Where a module's name leads, diffusers' or the original one; None: it is not known.

        All its `.` may be `_`, as kohya's trainers write them.
        """
        flat = name.replace(".", "_")
        if flat in self._places:
            return self._places[flat]
        if found := _BLOCK.fullmatch(name):
            stem, block, rest = found.groups()
            template = f"{stem}_{{}}_{rest}".replace(".", "_")
            if place := self._places.get(template):
                return Place(place.module.of_block(block), place.part)
        return None

    @cached_property
    def _places(self) -> dict[str, Place]:
        """All names that there are, with `_` for `.`; diffusers' first where both are the same."""
        found: dict[str, Place] = {}
        for module in self.modules:
            for number, part in enumerate(module.parts):
                found[part.replace(".", "_")] = Place(module, number)
        for module in self.modules:
            found.setdefault(module.name.replace(".", "_"), Place(module))
        return found
