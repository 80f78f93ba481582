"""The results as a table: measured, planned, published."""

from typing import Any

__all__ = ["table"]

_HEADER = ("part", "status", "step, s", "planned", "published", "peak, GiB", "planned", "published")


def table(result: dict[str, Any]) -> str:
    """A Markdown table of `gpu_check.json`."""
    rows = [_HEADER, ("---",) * len(_HEADER)]
    for name, part in result["parts"].items():
        found, planned = part["found"] or {}, part["planned"] or {}
        published = part["published"] or {}
        rows.append(
            (
                name,
                part["status"],
                *(_shown(each.get("step_seconds")) for each in (found, planned, published)),
                *(_shown(each.get("peak_gib")) for each in (found, planned)),
                f"{published['peak_gb']} GB" if "peak_gb" in published else "",
            )
        )
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _shown(number: float | None) -> str:
    return "" if number is None else f"{number:.3g}"
