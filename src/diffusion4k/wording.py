"""Numbers of things in sentences."""

__all__ = ["counted"]


def counted(number: int, one: str, many: str = "") -> str:
    """`1 photograph`, `2 photographs`; `many` where the plural is no `s` at the end of `one`."""
    return f"{number} {one if number == 1 else many or one + 's'}"
