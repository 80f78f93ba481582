"""Train and eval with no near-duplicates across: a group of duplicates stays on one side.

Each group draws a number in [0, 1) by hashing the seed and the first of its names: no generator,
no order. A picture that is added changes nothing for the groups it does not belong to, and a group
changes sides at most when a picture joins it whose name comes before all others.
"""

import hashlib
from collections import defaultdict
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from diffusion4k.curation.files import EVAL, TRAIN

__all__ = ["EVAL", "TRAIN", "split"]


def split(
    names: Sequence[str],
    labels: Sequence[int] | NDArray[np.int64],
    *,
    eval_share: float | None = None,
    eval_count: int | None = None,
    seed: int = 0,
    eligible: Sequence[bool] | NDArray[np.bool_] | None = None,
) -> list[str]:
    """`"train"` or `"eval"` for each picture.

    Args:
        names: unique, one per picture.
        labels: equal for pictures of one group (`Groups.labels`).
        eval_share: groups whose number is below it are for evaluation; 0 to 1.
        eval_count: instead of a share, so many pictures: groups in the order of their numbers as
            far as they fit in. With a picture added, one that was the last may go back to train.
        seed: another one draws another split.
        eligible: which pictures may be for evaluation, all by default; a group may if all its
            pictures may.

    Raises:
        ValueError: both or none of share and count, one out of range, or lengths that differ.
    """
    count = len(names)
    if (eval_share is None) == (eval_count is None):
        raise ValueError("give either eval_share or eval_count")
    if eval_share is not None and not 0 <= eval_share <= 1:
        raise ValueError(f"eval_share {eval_share}, allowed is 0 to 1")
    if eval_count is not None and eval_count < 0:
        raise ValueError(f"eval_count {eval_count}, allowed is 0 or more")
    if len(labels) != count or (eligible is not None and len(eligible) != count):
        raise ValueError("names, labels and eligible must be of one length")
    groups: dict[int, list[int]] = defaultdict(list)
    for picture, label in enumerate(labels):
        groups[int(label)].append(picture)
    allowed = [
        group
        for group in groups.values()
        if eligible is None or all(eligible[picture] for picture in group)
    ]
    sides = [TRAIN] * count
    drawn = sorted((_number(seed, min(names[p] for p in group)), group) for group in allowed)
    room = count if eval_count is None else eval_count
    for number, group in drawn:
        if eval_share is not None and number >= eval_share:
            break
        if len(group) <= room:
            room -= len(group)
            for picture in group:
                sides[picture] = EVAL
    return sides


def _number(seed: int, name: str) -> float:
    digest = hashlib.sha256(f"{seed}\0{name}".encode("utf-8", "surrogateescape")).digest()
    return int.from_bytes(digest[:7], "big") / 2**56
