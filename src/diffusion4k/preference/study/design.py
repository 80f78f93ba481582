"""Who sees what next: every unit equally often, by different people, each on both sides.

For a known number of participants a list for each could be drawn up beforehand (a balanced
incomplete block design). People who leave and join would spoil it, so here the next unit is chosen
when someone asks for it, by what has been seen until then:

1. no unit twice by the same participant, none more often than `views`;
2. of the rest, those seen least often;
3. of these, the groups (pairs of models) seen least often;
4. of these, the groups and then the items (prompts) that this participant has seen least often;
5. of these, one at random.

So numbers of views differ by at most one as long as everybody gets what they have not seen yet,
and are equal once every unit has its `views`. Of two images the one stands left that has stood left
less often: of this unit, else of its group, else by lot; no unit has one image left more than once
more often than the other.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Design", "DesignCell"]


@dataclass(frozen=True)
class DesignCell:
    """What the design has to know of a unit."""

    group: str
    """What is to be seen equally often, too: the pair of models."""
    item: str
    """What is not to be seen again and again in a row: the prompt."""


class Design:
    """Counts of who has seen what.

    Args:
        cells: The units, by number from 0.
        views: How many participants see each unit at most; None for no limit.
        seed: For what is left to chance.
    """

    def __init__(
        self, cells: Sequence[DesignCell], *, views: int | None = None, seed: int = 0
    ) -> None:
        self._groups, groups = _numbered([cell.group for cell in cells])
        self._items, items = _numbered([cell.item for cell in cells])
        self._limit, self._seed = views, seed
        self.views = np.zeros(len(cells), int)
        """How often each unit was given."""
        self.turns = np.zeros(len(cells), int)
        """How often the second image stood left, less how often the first did."""
        self._group_views, self._group_turns = np.zeros(groups, int), np.zeros(groups, int)
        self._seen: dict[int, _Seen] = {}
        self._sizes = len(cells), groups, items

    def choose(self, participant: int) -> tuple[int, bool] | None:
        """Number of the next unit and whether it is swapped; None if there is none left."""
        own = self._of(participant)
        open_ = ~own.units
        if self._limit is not None:
            open_ &= self.views < self._limit
        chosen = np.flatnonzero(open_)
        if not len(chosen):
            return None
        for counts in (
            self.views,
            self._group_views[self._groups],
            own.groups[self._groups],
            own.items[self._items],
        ):
            found = counts[chosen]
            chosen = chosen[found == found.min()]
        random = np.random.default_rng((self._seed, participant, int(own.units.sum())))
        unit = int(random.choice(chosen))
        lead = self.turns[unit] or self._group_turns[self._groups[unit]]
        return unit, bool(lead < 0 if lead else random.integers(2))

    def is_left(self, participant: int) -> bool:
        """Whether there is one for the participant; changes nothing."""
        open_ = np.ones(len(self.views), bool)
        if participant in self._seen:
            open_ &= ~self._seen[participant].units
        if self._limit is not None:
            open_ &= self.views < self._limit
        return bool(open_.any())

    def give(self, participant: int, unit: int, swapped: bool) -> None:
        """Count that a participant was shown a unit."""
        own = self._of(participant)
        own.units[unit] = True
        own.groups[self._groups[unit]] += 1
        own.items[self._items[unit]] += 1
        self._count(unit, swapped, 1)

    def release(self, unit: int, swapped: bool) -> None:
        """Count no more what was shown to someone who has left; they still may answer."""
        self._count(unit, swapped, -1)

    def retain(self, unit: int, swapped: bool) -> None:
        """Take back `release`: they have answered."""
        self._count(unit, swapped, 1)

    def _count(self, unit: int, swapped: bool, by: int) -> None:
        side = by if swapped else -by
        self.views[unit] += by
        self.turns[unit] += side
        self._group_views[self._groups[unit]] += by
        self._group_turns[self._groups[unit]] += side

    def _of(self, participant: int) -> "_Seen":
        if participant not in self._seen:
            self._seen[participant] = _Seen(*self._sizes)
        return self._seen[participant]


class _Seen:
    """What one participant has seen."""

    def __init__(self, units: int, groups: int, items: int) -> None:
        self.units: NDArray[np.bool_] = np.zeros(units, bool)
        self.groups: NDArray[np.int64] = np.zeros(groups, np.int64)
        self.items: NDArray[np.int64] = np.zeros(items, np.int64)


def _numbered(names: list[str]) -> tuple[NDArray[np.int64], int]:
    """A number for each name, and how many numbers there are."""
    numbers: dict[str, int] = {}
    found = [numbers.setdefault(name, len(numbers)) for name in names]
    return np.array(found, np.int64), len(numbers)
