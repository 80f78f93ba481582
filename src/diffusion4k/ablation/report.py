"""What is written of a study: results.json, figures, and a report that needs nothing else."""

import base64
from pathlib import Path

from diffusion4k.ablation.figures import draw_all
from diffusion4k.ablation.results import SHARE_OF_LOSS, AblationResults, Verdict
from diffusion4k.ablation.summary import BEFORE
from diffusion4k.benchmark.results import shown
from diffusion4k.benchmark.tables import ARROWS
from diffusion4k.benchmark.values import EMPTY
from diffusion4k.metrics.measure import Column
from diffusion4k.support.files import write_text
from diffusion4k.support.report_page import render

__all__ = ["FILES", "sentences", "write_everything"]

FILES = ("results.json", "report.html")
"""Beside the folder `figures`."""

_SAID: tuple[tuple[Verdict, str], ...] = (
    ("better", "better"),
    ("worse", "worse"),
    ("equal", "equal"),
    ("cannot tell", "cannot be told apart"),
)


def write_everything(results: AblationResults, folder: Path) -> None:
    """Write results, figures and report into the folder."""
    data, page = (folder / name for name in FILES)
    figures = draw_all(results, folder / "figures")
    results.save_json(data)
    write_text(page, _page(results, figures))


def sentences(results: AblationResults) -> list[tuple[str, list[str]]]:
    """For each arm but the baseline, what differs from it and what does not."""
    found = []
    for arm in results.arms:
        if arm == results.baseline:
            continue
        sorted_out = results.sorted_out(arm)
        parts = [f"{words}: {'; '.join(sorted_out[v])}" for v, words in _SAID if v in sorted_out]
        found.append((arm, parts))
    return found


def _page(results: AblationResults, figures: dict[str, Path]) -> str:

    def value(arm: str, column: Column) -> tuple[str, str]:
        """The value, and its interval without brackets."""
        entry = results.entry(arm, column.name, 0 if arm == BEFORE else None)
        text, _, interval = shown(entry.value if entry else EMPTY, column).partition(" [")
        return text, interval.rstrip("]").replace(", ", " … ")

    def difference(arm: str, column: Column) -> tuple[str, str, str]:
        """Value, interval, verdict."""
        entry = results.entry(arm, column.name)
        if not entry or entry.difference.value is None:
            return "–", "", ""
        text, _, interval = shown(entry.difference, column, sign=True).partition(" [")
        return text, interval.rstrip("]").replace(", ", " … "), entry.verdict

    others = [arm for arm in results.arms if arm != results.baseline]
    columns = results.main_columns()
    chosen = [v for arm in others for each in results.sorted_out(arm).values() for v in each]
    return render(
        "ablation/report.html",
        results=results,
        facts=results.facts,
        study=results.facts["study"],
        columns=columns,
        others=others,
        before=BEFORE,
        value=value,
        difference=difference,
        sentences=sentences(results),
        comparisons=len(chosen),
        tolerance=SHARE_OF_LOSS,
        arrow=ARROWS,
        figures={name: _uri(path) for name, path in figures.items()},
    )


def _uri(path: Path) -> str:
    return "data:image/png;base64," + base64.b64encode(path.read_bytes()).decode()
