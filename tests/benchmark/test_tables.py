"""Tables of known results: what is bold, what is marked, and LaTeX that is none by accident."""

import io
from pathlib import Path

import pytest
from rich.console import Console

from diffusion4k.benchmark.comparable import Conditions, said_size, why_not
from diffusion4k.benchmark.published import CORRELATIONS_WITH_PEOPLE, PUBLISHED, PUBLISHED_COLUMNS
from diffusion4k.benchmark.results import BenchmarkResults, Difference, TableRow, shown
from diffusion4k.benchmark.tables import save_latex, show
from diffusion4k.benchmark.values import Cell
from diffusion4k.metrics.measure import Mean, Unavailable

SCORE = Mean("glcm_score", "GLCM Score", "higher", 3)
RATIO = Mean("compression_ratio", "Compression Ratio", "lower", 2)
PLAIN = Mean("plain", "in_between", "", 1)


def results() -> BenchmarkResults:
    cells = [
        {"glcm_score": Cell(0.7512, 0.74, 0.76), "compression_ratio": Cell(11), "plain": Cell(1.0)},
        {"glcm_score": Cell(0.79, 0.78, 0.8), "compression_ratio": Cell(12), "plain": Cell(2.0)},
        {"glcm_score": Cell(0.95), "compression_ratio": Cell(None), "plain": Cell(3.0)},
    ]
    rows = (
        TableRow("SD3_50%", "ours", 4, "256x256", cells[0]),
        TableRow("[b]wavelet", "ours", 4, "256x256", cells[1]),
        TableRow(
            "other $ & #", "ours", 3, "512x512", cells[2], ("other size: 512x512, not 256x256",)
        ),
        TableRow("photographs", "photographs", 5, "400x300", {"glcm_score": Cell(0.6)}),
        TableRow("SD3-F16", "published", 2781, "2048x2048", {"fid": Cell(43.82)}, ("why",), "from"),
    )
    differences = (Difference("SD3_50%", "[b]wavelet", 4, {"glcm_score": Cell(-0.04, -0.05, 0)}),)
    missing = (Unavailable(("fid", "kid"), "no weights"),)
    return BenchmarkResults((SCORE, RATIO, PLAIN), rows, differences, missing, {}, ("a note",))


def test_the_best_of_what_compares() -> None:
    found = results()
    assert found.best(SCORE) == {"[b]wavelet"}  # Not "other", whose size differs.
    assert found.best(RATIO) == {"SD3_50%"}
    assert found.best(PLAIN) == set()


def test_the_terminal_says_everything() -> None:
    text = io.StringIO()
    show(results(), Console(file=text, width=140))
    told = text.getvalue()
    for part in ("[b]wavelet", "other $ & #†", "0.751 [0.740, 0.760]", "-0.040 [-0.050, +0.000]"):
        assert part in told
    assert "SD3-F16† @2048" in told and "43.82" in told
    assert "† other $ & #: other size: 512x512, not 256x256" in told
    assert "in results.csv and the report as well: in_between" in told
    assert "not measured: fid, kid: no weights" in told and "a note" in told


def test_latex(tmp_path: Path) -> None:
    save_latex(results(), tmp_path / "t.tex")
    text = (tmp_path / "t.tex").read_text()
    assert r"SD3\_50\%" in text and r"\$ \& \#" in text and "plain" not in text
    assert r"\textbf{0.790} {\scriptsize [0.780, 0.800]}" in text
    assert r"\textbf{0.751}" not in text and r"\textbf{11.00}" in text
    assert r"\#$^\dagger$" in text and "% other $ & #: other size" in text
    assert r"$-$0.040 {\scriptsize [$-$0.050, +0.000]}" in text
    assert text.count(r"\begin{tabular}") == text.count(r"\end{tabular}") == 3
    for part in ("toprule", "midrule", "bottomrule"):
        assert text.count(rf"\{part}") >= 3
    for table in text.split(r"\begin{tabular}")[1:]:
        body = table[: table.index(r"\end{tabular}")]
        columns = len(body[1 : body.index("}")])
        rows = [line for line in body.splitlines() if line.endswith(r"\\")]
        assert {line.count(" & ") + 1 for line in rows} == {columns}


def test_cells_in_words() -> None:
    assert shown(Cell(None), SCORE) == "–"
    assert shown(Cell(1.0), SCORE, sign=True) == "+1.000"
    assert shown(Cell(-0.0001, -0.2, -0.00049), SCORE) == "0.000 [-0.200, 0.000]"
    assert shown(Cell(1.0, 0.5, 1.5), SCORE, interval=False) == "1.000"


def test_conditions_in_words() -> None:
    base = Conditions(((2, 3),) * 2, frozenset("ab"), 0, frozenset(["JPEG"]))
    assert why_not(base, base) == []
    other = Conditions(((2, 3), (4, 3)), frozenset("bc"), 0, frozenset(["JPEG", "PNG"]))
    assert why_not(other, base) == [
        "other size: 2x3 and 1 other sizes, not 2x3",
        "other prompts: 1 of 2 in common",
        "other files: JPEG and PNG, not JPEG",
    ]
    assert said_size(()) == "no size"


@pytest.mark.parametrize("row", PUBLISHED, ids=lambda row: f"{row.name} {row.prompts}")
def test_published_rows_have_a_source_and_known_columns(row) -> None:
    assert row.source and set(row.values) <= {column.name for column in PUBLISHED_COLUMNS}
    assert (row.images, row.size[0]) in ((2781, 2048), (195, 4096))


def test_published_figures() -> None:
    rows = {(row.name, row.size[0]): row.values for row in PUBLISHED}
    assert rows["Flux-F16-WLF", 2048]["fid"] == 39.49
    assert rows["SD3-F16-WLF", 4096]["compression_ratio"] == 10.50
    assert CORRELATIONS_WITH_PEOPLE["maniqa"] == ("MANIQA", 0.20, 0.26)
