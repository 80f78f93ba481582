"""Numbers in sentences, and in the order of names."""

import re

__all__ = ["counted", "natural_key"]


def counted(number: int, one: str, many: str = "") -> str:
    """`1 photograph`, `2 photographs`; `many` where the plural is no `s` at the end of `one`."""
    return f"{number} {one if number == 1 else many or one + 's'}"


def natural_key(name: object) -> tuple[list[str | int], str]:
    """Key that sorts names by the numbers in them: a2, a10; 1, 01, 2."""
    text = str(name)
    parts = re.split(r"([0-9]+)", text)
    return [int(part) if place % 2 else part for place, part in enumerate(parts)], text
