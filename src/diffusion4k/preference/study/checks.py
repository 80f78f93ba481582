"""Attention checks: where among all that a participant sees they stand.

The positions are cut into as many stretches as there are checks; each has one at a random position,
but never the very first position. Which follows from the study's seed and the participant alone.
"""

from random import Random

from diffusion4k.preference.answers import Check
from diffusion4k.preference.study.material import Unit

__all__ = ["check_positions"]


def check_positions(
    counts: dict[Check, int], units: int, checks: dict[Check, list[Unit]], seed: int, who: int
) -> dict[int, Unit]:
    """The checks of a participant who sees `units` units beside them, by position from 0."""
    random = Random(f"{seed}/{who}")
    kinds = [kind for kind, count in counts.items() if checks.get(kind) for _ in range(count)]
    if not units:
        return {}
    random.shuffle(kinds)
    total = units + len(kinds)
    found: dict[int, Unit] = {}
    # The same picture is not blurred in one check and sharp in the next.
    pools = {kind: random.sample(pool, len(pool)) for kind, pool in checks.items()}
    for number, kind in enumerate(kinds):
        first = max(total * number // len(kinds), 1)
        last = max(total * (number + 1) // len(kinds) - 1, first)
        place = random.randint(first, last)
        while place in found:
            place += 1
        found[place] = pools[kind][number % len(pools[kind])]
    return found
