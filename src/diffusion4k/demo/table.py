"""The demo's numbers as a table on the terminal."""

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from diffusion4k.demo.result import DemoRow

__all__ = ["show"]


def show(rows: Sequence[DemoRow], console: Console | None = None) -> None:
    """Print the table, by default on standard error."""
    table = Table(box=None, pad_edge=False)
    table.add_column("")
    for heading in (
        "images",
        "detail",
        "FD-EffNet-patch",
        "grid",
        "GLCM Score",
    ):
        table.add_column(heading, justify="right")
    for row in rows:
        distance = "-" if row.fd_effnet_patch is None else f"{row.fd_effnet_patch:.1f}"
        table.add_row(
            row.label,
            str(row.images),
            f"{row.detail_distance:.2f}",
            distance,
            f"{row.token_grid_ratio:.3f}",
            f"{row.glcm_score:.3f}",
        )
    (console or Console(stderr=True)).print(table)
