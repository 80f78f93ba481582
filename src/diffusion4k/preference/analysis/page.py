"""The report as a page: one HTML file that needs nothing else."""

from pathlib import Path

from diffusion4k.preference.analysis.figure import COLOURS, pairs_of
from diffusion4k.preference.analysis.results import PreferenceResults
from diffusion4k.statistics.bootstrap import IntervalJson
from diffusion4k.support.files import write_text
from diffusion4k.support.report_page import render
from diffusion4k.support.wording import counted

__all__ = ["headlines", "warning_of", "write_page"]

_NAMED = 20  # people who are named in one line


def write_page(results: PreferenceResults, path: Path) -> Path:
    """Write the page to `path`; nothing is linked."""
    page = render(
        "preference/analysis/report.html",
        results=results,
        headlines=headlines(results),
        unanimous=any(
            row["share"]["value"] in (0, 1)
            for group in results["groups"].values()
            for row in group["win_rates"]
        ),
        warning=warning_of(results),
        pairs=pairs_of(results),
        colours=COLOURS,
        percent=_percent,
        number=_number,
        p_value=_p_value,
    )
    write_text(path, page)
    return path


def headlines(results: PreferenceResults) -> list[str]:
    """Who answered how much, and who is left out and why, in a few lines."""
    lines = []
    for name, group in results["groups"].items():
        by = f" by {counted(group['participants'], 'person', 'people')}" if name == "people" else ""
        about = counted(group["prompts"], group["about"], _PLURAL[group["about"]])
        lines.append(f"{name}: {counted(group['answers'], 'answer')}{by} about {about}")
    if flagged := results["checks"]["flagged"]:
        named = [f"{each['participant']} ({each['why']})" for each in flagged[:_NAMED]]
        more = [f"{len(flagged) - _NAMED} more"] if len(flagged) > _NAMED else []
        what = "flagged, but kept" if results["checks"]["kept"] else "left out"
        people = counted(results["people"]["answered"], "participant")
        lines.append(f"{what}: {len(flagged)} of {people}: {', '.join(named + more)}")
    return lines


def warning_of(results: PreferenceResults) -> str:
    """What a reader must know first: that no person is left, or one; else empty."""
    people, checks = results["people"], results["checks"]
    if not people["answered"] or people["counted"] > 1:
        return ""
    everybody = counted(people["answered"], "participant")
    if people["counted"]:
        (name,) = people["names"]
        if people["answered"] == 1:
            return f"only one person has answered, {name}: these are one person's preferences"
        return f"only one person is left of {everybody}, {name}: these are one person's preferences"
    if not checks["flagged"] or checks["kept"]:
        return "nobody has answered about a pair yet, only about attention checks"
    return (
        f"nobody is left of {everybody}, so nothing is known about what people prefer: see who was "
        "left out and why; --keep-flagged counts them all, --tolerate N those who failed up to N "
        "checks"
    )


_PLURAL = {"prompt": "prompts", "pair of images": "pairs of images"}


def _percent(interval: IntervalJson) -> str:
    return _interval(interval, 100, 1)


def _number(interval: IntervalJson) -> str:
    return _interval(interval, 1, 2)


def _interval(interval: IntervalJson, scale: float, digits: int) -> str:
    value, low, high = interval["value"], interval["low"], interval["high"]
    if value is None:
        return "–"
    text = f"{scale * value:.{digits}f}"
    if low is None or high is None:
        return f"{text} [too little data]".replace("-", "−")
    return f"{text} [{scale * low:.{digits}f}, {scale * high:.{digits}f}]".replace("-", "−")


def _p_value(p: float) -> str:
    return "< 0.001" if p < 0.001 else f"{p:.3f}"
