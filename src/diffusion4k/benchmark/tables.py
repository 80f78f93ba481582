"""The results as tables: for the terminal, and as LaTeX (booktabs, the best in bold).

Two tables: what was measured, metrics down and rows across; and our rows above the published ones,
in the columns that published tables have. Figures that only describe, of which neither more nor
less is better, are left to the files.
"""

from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from diffusion4k.benchmark.results import BenchmarkResults, Difference, TableRow, shown
from diffusion4k.benchmark.values import EMPTY
from diffusion4k.metrics.measure import Column
from diffusion4k.support.files import write_text
from diffusion4k.support.wording import counted

__all__ = ["ARROWS", "save_latex", "show"]

ARROWS = {"higher": "↑", "lower": "↓", "": ""}
_SHORT = {"glcm_score": "GLCM", "compression_ratio": "Ratio", "aesthetics": "Aesth."}
_LATEX_ARROWS = {"higher": r" $\uparrow$", "lower": r" $\downarrow$", "": ""}
_LATEX = {
    **{"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"},
    **{sign: "\\" + sign for sign in "&%$#_{}"},
    **{"Σ": r"$\Sigma$", "×": r"$\times$", "–": "--"},
}


def show(results: BenchmarkResults, console: Console | None = None) -> None:
    """Print both tables, the differences, and what a reader must know beside them."""
    console = console or Console()
    console.print(_measured(results))
    if results.differences:
        console.print(_differences(results))
    console.print(_beside(results))
    if further := results.further_columns():
        headings = ", ".join(column.heading for column in further)
        console.print(f"in results.csv and the report as well: {headings}", markup=False)
    for name, notes in _marked(results):
        console.print(f"† {name}: {'; '.join(notes)}", markup=False, highlight=False)
    for missing in results.missing:
        line = f"not measured: {', '.join(missing.columns)}: {missing.reason}"
        console.print(line, markup=False, highlight=False)
    for note in results.notes:
        console.print(note, markup=False, highlight=False)


def _measured(results: BenchmarkResults) -> Table:
    title = "Measured, with 95% intervals († not comparable with the first row)"
    table = Table(title=title, title_justify="left")
    table.add_column("")
    rows = results.of_kind("ours", "photographs")
    for row in rows:
        table.add_column(_named(row), justify="right", overflow="fold")
    table.add_row("images", *(str(row.images) for row in rows))
    table.add_row("size", *(row.size for row in rows))
    table.add_section()
    for column in results.main_columns():
        best = results.best(column)
        cells = []
        for row in rows:
            text = shown(row.cells.get(column.name, EMPTY), column)
            is_best = row.kind == "ours" and row.name in best
            cells.append(f"[bold]{escape(text)}[/bold]" if is_best else escape(text))
        table.add_row(f"{column.heading} {ARROWS[column.better]}", *cells)
    return table


def _differences(results: BenchmarkResults) -> Table:
    table = Table(title="Paired differences, with 95% intervals", title_justify="left")
    table.add_column("")
    for each in results.differences:
        heading = f"{each.first} − {each.second}, {counted(each.pairs, 'pair')}"
        table.add_column(escape(heading), justify="right", overflow="fold")
    for column in results.main_columns():
        cells = [
            shown(each.cells.get(column.name, EMPTY), column, sign=True)
            for each in results.differences
        ]
        if any(cell != "–" for cell in cells):
            table.add_row(f"{column.heading} {ARROWS[column.better]}", *map(escape, cells))
    return table


def _beside(results: BenchmarkResults) -> Table:
    title = "Beside published figures († not comparable with the first row)"
    table = Table(title=title, title_justify="left", pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("", overflow="fold")
    columns = results.published_columns()
    for column in columns:
        heading = _SHORT.get(column.name, column.heading)
        table.add_column(f"{heading} {ARROWS[column.better]}", justify="right", no_wrap=True)
    previous = ""
    for row in results.of_kind("ours", "published"):
        group = _group(row)
        if previous not in ("", group):
            table.add_section()
        previous = group
        values = [shown(row.cells.get(c.name, EMPTY), c, interval=False) for c in columns]
        size = f" @{row.size.partition('x')[0]}" if row.kind == "published" else ""
        table.add_row(_named(row) + size, *values)
    return table


def _group(row: TableRow) -> str:
    """Rows of one group stand between two rules."""
    return row.kind + (row.size if row.kind == "published" else "")


def _named(row: TableRow) -> str:
    return escape(row.name) + ("†" if row.notes else "")


def _marked(results: BenchmarkResults) -> list[tuple[str, tuple[str, ...]]]:
    """The notes of rows, those of published rows with the same notes together."""
    together: dict[tuple[str, ...], list[str]] = {}
    for row in results.rows:
        if row.notes:
            together.setdefault(row.notes, []).append(row.name)
    return [(", ".join(names), notes) for notes, names in together.items()]


def save_latex(results: BenchmarkResults, path: Path) -> None:
    """Write both tables, and that of differences, as tabulars; needs the package booktabs."""
    parts = [
        "% Needs \\usepackage{booktabs}. In brackets 95% intervals: bootstrap, and jackknife for "
        "distances."
    ]
    parts.append(_latex_measured(results))
    if results.differences:
        parts.append(_latex_differences(results.differences, results.main_columns()))
    parts.append(_latex_beside(results))
    notes = [f"% {name}: {'; '.join(notes)}" for name, notes in _marked(results)]
    write_text(path, "\n\n".join(parts) + "\n" + "\n".join(["", *notes, ""]))


def _latex_measured(results: BenchmarkResults) -> str:
    rows = results.of_kind("ours", "photographs")
    lines = [_cells("", *(_latex_named(row) for row in rows)), r"\midrule"]
    for column in results.main_columns():
        best = results.best(column)
        cells = [
            _latex_cell(shown(row.cells.get(column.name, EMPTY), column), row.name in best)
            for row in rows
        ]
        lines.append(_cells(_latex_heading(column), *cells))
    return _tabular("l" + "r" * len(rows), lines)


def _latex_differences(differences: tuple[Difference, ...], columns: list[Column]) -> str:
    heads = [f"{_escaped(each.first)} $-$ {_escaped(each.second)}" for each in differences]
    lines = [_cells("", *heads), r"\midrule"]
    for column in columns:
        cells = [
            shown(each.cells.get(column.name, EMPTY), column, sign=True) for each in differences
        ]
        lines.append(_cells(_latex_heading(column), *(_latex_cell(cell, False) for cell in cells)))
    return _tabular("l" + "r" * len(differences), lines)


def _latex_beside(results: BenchmarkResults) -> str:
    columns = results.published_columns()
    lines = [_cells("", "images", "size", *map(_latex_heading, columns)), r"\midrule"]
    previous = ""
    for row in results.of_kind("ours", "published"):
        group = _group(row)
        if previous not in ("", group):
            lines.append(r"\midrule")
        previous = group
        cells = [
            _latex_cell(
                shown(row.cells.get(column.name, EMPTY), column, interval=False),
                row.kind == "ours" and row.name in results.best(column),
            )
            for column in columns
        ]
        lines.append(_cells(_latex_named(row), str(row.images), _escaped(row.size), *cells))
    return _tabular("lrl" + "r" * len(columns), lines)


def _tabular(form: str, lines: list[str]) -> str:
    body = "\n".join([r"\toprule", *lines, r"\bottomrule"])
    return f"\\begin{{tabular}}{{{form}}}\n{body}\n\\end{{tabular}}"


def _cells(*cells: str) -> str:
    return " & ".join(cells) + r" \\"


def _latex_named(row: TableRow) -> str:
    return _escaped(row.name) + (r"$^\dagger$" if row.notes else "")


def _latex_heading(column: Column) -> str:
    return _escaped(column.heading) + _LATEX_ARROWS[column.better]


def _latex_cell(text: str, is_best: bool) -> str:
    text = text.replace("-", "$-$").replace("–", "--")
    value, bracket, interval = text.partition(" [")
    value = rf"\textbf{{{value}}}" if is_best else value
    return value + (rf" {{\scriptsize [{interval}}}" if bracket else "")


def _escaped(text: str) -> str:
    return "".join(_LATEX.get(letter, letter) for letter in text)
