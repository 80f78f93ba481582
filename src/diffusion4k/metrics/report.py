"""An evaluation as a table for the terminal."""

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from diffusion4k.metrics.compression import MARK, why_marked
from diffusion4k.metrics.evaluate import Evaluation, Folder
from diffusion4k.support.wording import counted

__all__ = ["show"]

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
        mark = MARK if numbers["jpeg_other_quality"] else ""
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
    _add_means(table, counted(len(evaluation.images.images), "image"), evaluation.images)
    if evaluation.reference:
        count = len(evaluation.reference.images)
        _add_means(table, f"reference: {counted(count, 'image')}", evaluation.reference)
    console.print(table)
    if evaluation.images.further:
        _show_further(console, evaluation)
    for distance in evaluation.distances:
        value = "not defined" if distance.value is None else f"{distance.value:.{distance.digits}f}"
        console.print(
            f"{distance.name}: [bold]{value}[/bold] "
            f"({counted(distance.samples, 'sample')} against {distance.reference_samples})"
        )
    for note in dict.fromkeys(d.note for d in evaluation.distances if d.note):
        console.print(f"  {note}")
    folders = [evaluation.images] + ([evaluation.reference] if evaluation.reference else [])
    if others := sum(len(folder.other_quality) for folder in folders):
        console.print(why_marked(others, "--reencode"))


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
        f"{folder.compression_ratio:.2f}{MARK if folder.other_quality else ''}",
        style="bold",
    )
