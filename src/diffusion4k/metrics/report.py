"""An evaluation as a table for the terminal, and a progress bar for its making."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from diffusion4k.metrics.evaluate import Evaluation, Folder
from diffusion4k.metrics.evaluate import Progress as OnImage

__all__ = ["progress", "show"]

_ROWS_SHOWN = 40


def show(evaluation: Evaluation, console: Console | None = None) -> None:
    """Print the images, the means, the distances and the notes a reader needs beside them."""
    console = console or Console()
    table = Table(title=escape(str(evaluation.images.path)), title_justify="left")
    table.add_column("image", overflow="fold")
    for heading in ("size", "GLCM Score", "GLCM entropy", "Compression Ratio"):
        table.add_column(heading, justify="right")
    for name, image in list(evaluation.images.images.items())[:_ROWS_SHOWN]:
        numbers = image.numbers
        ratio = numbers["raw_bytes"] / numbers["jpeg_bytes"]
        mark = "*" if numbers["jpeg_other_quality"] else ""
        table.add_row(
            escape(name),
            f"{numbers['width']:.0f}x{numbers['height']:.0f}",
            f"{numbers['glcm_score']:.3f}",
            f"{numbers['glcm_entropy']:.2f}",
            f"{ratio:.2f}{mark}",
        )
    left_out = len(evaluation.images.images) - _ROWS_SHOWN
    if left_out > 0:
        table.add_row(f"... and {left_out} more", "", "", "", "")
    table.add_section()
    _add_means(table, f"all {len(evaluation.images.images)} images", evaluation.images)
    if evaluation.reference:
        count = len(evaluation.reference.images)
        _add_means(table, f"reference: {count} images", evaluation.reference)
    console.print(table)
    if evaluation.images.further:
        _show_further(console, evaluation)
    for distance in evaluation.distances:
        value = "not defined" if distance.value is None else f"{distance.value:.{distance.digits}f}"
        console.print(
            f"{distance.name}: [bold]{value}[/bold] "
            f"({distance.samples} samples against {distance.reference_samples})"
        )
    for note in dict.fromkeys(d.note for d in evaluation.distances if d.note):
        console.print(f"  {note}")
    folders = [evaluation.images] + ([evaluation.reference] if evaluation.reference else [])
    if others := sum(len(folder.other_quality) for folder in folders):
        console.print(
            f"* {others} JPEG files were not written at quality 95 with 4:2:0: their Compression "
            "Ratio is not comparable; --reencode makes it so"
        )


def _show_further(console: Console, evaluation: Evaluation) -> None:
    folders = [evaluation.images] + ([evaluation.reference] if evaluation.reference else [])
    table = Table("metric", "better", title="means", title_justify="left")
    table.add_column("images", justify="right")
    if evaluation.reference:
        table.add_column("reference", justify="right")
    values = [folder.values() for folder in folders]
    for column in evaluation.images.further:
        cells = [value.get(column.name) for value in values]
        texts = ["" if cell is None else f"{cell:.{column.digits}f}" for cell in cells]
        table.add_row(escape(column.heading), column.better, *texts)
    console.print(table)


def _add_means(table: Table, label: str, folder: Folder) -> None:
    table.add_row(
        label,
        "",
        f"{folder.mean('glcm_score'):.3f}",
        f"{folder.mean('glcm_entropy'):.2f}",
        f"{folder.compression_ratio:.2f}{'*' if folder.other_quality else ''}",
        style="bold",
    )


@contextmanager
def progress(total: int) -> Iterator[OnImage]:
    """A bar with rate and time left on a terminal; elsewhere a line after each tenth."""
    console = Console(stderr=True)
    if not console.is_terminal:
        done = 0

        def line(name: str) -> None:
            nonlocal done
            done += 1
            if done * 10 // total > (done - 1) * 10 // total:
                print(f"measured {done}/{total} ({name})", file=sys.stderr, flush=True)

        yield line
        return
    columns = (
        TextColumn("measuring"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
        TextColumn("{task.description}"),
    )
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("", total=total, rate="")

        def advance(name: str) -> None:
            bar.update(task, advance=1, description=escape(name))
            speed = bar.tasks[0].speed
            bar.update(task, rate=f"{speed:.2f} images/s" if speed else "")

        yield advance
