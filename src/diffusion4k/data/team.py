"""Processes that fill one cache together: each encodes its share."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

__all__ = ["ALONE", "EncodingTeam"]


@dataclass(frozen=True)
class EncodingTeam:
    """This process among those that fill a cache.

    Attributes:
        rank, world: its number, and how many there are.
        wait: returns when all of them have called it.
    """

    rank: int
    world: int
    wait: Callable[[], None]

    @property
    def is_main(self) -> bool:
        """Whether this process prepares the folder and completes it."""
        return self.rank == 0

    def share(self, keys: Iterable[str]) -> set[str]:
        """Keys of this process: every nth of all keys, repeated keys counted once.

        Of all and not of what is missing, as another process may have begun to write.
        """
        return set(list(dict.fromkeys(keys))[self.rank :: self.world])

    def kind(self, name: str) -> str:
        """Beginning of the names of its shards, which no other process writes."""
        return name if self.world == 1 else f"{name}-{self.rank}"


ALONE = EncodingTeam(0, 1, lambda: None)
