"""Values and their intervals, against NumPy and against simulated folders whose truth is known."""

from pathlib import Path

import numpy as np
import pytest
import scipy.linalg
from safetensors.numpy import save_file

from diffusion4k.benchmark.values import EMPTY, Cell, Values, from_zero
from diffusion4k.metrics.frechet import frechet_distance
from diffusion4k.metrics.kid import kid_of_folders
from diffusion4k.metrics.measure import Column, Distance, Mean, Ratio
from diffusion4k.metrics.measuring import Measured

MEAN = Mean("score", "Score", "higher", 2)
RATIO = Ratio("ratio", "Ratio", "lower", 2, "above", "below")
FD = Distance("fd", "FD", "lower", 2, "features", frechet_distance)
KID = Distance("kid", "KID", "lower", 2, "features", kid_of_folders)
FEW = {"resamples": 400}


def folder(place: Path, count: int, seed: int, shift: float = 0, rows: int = 1) -> list[Measured]:
    """Findings of `count` pictures with `rows` features each, of 4 dimensions."""
    rng = np.random.default_rng(seed)
    found = []
    for n in range(count):
        kept = place / f"{seed}-{n}.safetensors"
        features = (rng.normal(size=(rows, 4)) + shift).astype(np.float32)
        save_file({"features": features}, kept)
        numbers = {"score": float(rng.normal(shift)), "above": 2.0 + n, "below": 1.0 + rng.random()}
        found.append(Measured(kept, numbers, {"features": kept}))
    return found


def stacked(findings: list[Measured]) -> np.ndarray:
    return np.concatenate([found.features("features") for found in findings]).astype(np.float64)


def frechet_by_scipy(a: np.ndarray, b: np.ndarray) -> float:
    cov_a, cov_b = np.cov(a.T), np.cov(b.T)
    root = scipy.linalg.sqrtm(cov_a @ cov_b).real
    shift = a.mean(0) - b.mean(0)
    return float(shift @ shift + np.trace(cov_a + cov_b - 2 * root))


def test_values_are_numpys(tmp_path: Path) -> None:
    ours, reference = folder(tmp_path, 9, 1, 0.5, 3), folder(tmp_path, 8, 2, rows=3)
    values = Values(reference, **FEW)
    numbers = {name: np.array([f.numbers[name] for f in ours]) for name in ours[0].numbers}
    wanted = {
        MEAN: numbers["score"].mean(),
        RATIO: numbers["above"].sum() / numbers["below"].sum(),
        FD: frechet_by_scipy(stacked(ours), stacked(reference)),
        KID: kid_of_folders([stacked(ours)], [stacked(reference)]),
    }
    for column, value in wanted.items():
        cell = values.value(column, ours)
        assert cell.value == pytest.approx(value, rel=1e-6)
        assert cell.low is not None and cell.high is not None and cell.low < cell.value < cell.high


def test_what_there_is_no_value_of_is_empty(tmp_path: Path) -> None:
    ours = folder(tmp_path, 3, 1)
    values = Values([], **FEW)
    assert values.value(FD, ours) == EMPTY
    assert values.value(Mean("other", "Other", "", 1), ours) == EMPTY
    assert values.value(MEAN, []) == EMPTY
    one = Values(folder(tmp_path, 4, 2), **FEW)
    assert one.value(FD, ours[:1]) == EMPTY
    alone = one.value(MEAN, ours[:1])
    assert alone.value is not None and alone.low is None
    no_draws = Values(folder(tmp_path, 4, 2), groups=0).value(FD, ours)
    assert no_draws.value is not None and no_draws.low is None


def test_a_difference_is_drawn_in_pairs(tmp_path: Path) -> None:
    """Pictures that differ much, but of which one model's are always a little better."""
    hard = np.random.default_rng(3).normal(0, 10, 30)
    first = [Measured(Path(f"a{n}"), {"score": x + 0.5}) for n, x in enumerate(hard)]
    second = [Measured(Path(f"b{n}"), {"score": x}) for n, x in enumerate(hard)]
    found = Values([], **FEW).difference(MEAN, first, second)
    assert found.value == pytest.approx(0.5) and found.low == pytest.approx(0.5)
    assert Values([], **FEW).difference(MEAN, first, first) == Cell(0, 0, 0)


def test_a_distance_is_worked_out_once_for_row_and_pairs(tmp_path: Path) -> None:
    calls = []

    def distance(ours, theirs) -> float:
        calls.append(1)
        return float(np.concatenate([*ours]).mean() - np.concatenate([*theirs]).mean())

    column = Distance("d", "D", "lower", 2, "features", distance)
    first, second, reference = (folder(tmp_path, 6, n) for n in range(3))
    values = Values(reference, **FEW)
    cells = [values.value(column, side) for side in (first, second)]
    so_far = len(calls)
    found = values.difference(column, first, second)
    assert len(calls) == so_far
    assert found.value == pytest.approx(cells[0].value - cells[1].value)


def test_features_that_do_not_fit_are_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours, reference = folder(tmp_path, 6, 1), folder(tmp_path, 6, 2)
    plenty = Values(reference, **FEW).value(FD, ours)
    monkeypatch.setattr("diffusion4k.benchmark.values._ROOM", 40)
    assert Values(reference, **FEW).value(FD, ours) == plenty


def test_other_columns_have_no_value() -> None:
    assert Values([], **FEW).value(Column("x", "X", "", 1), [Measured(Path("a"))]) == EMPTY


@pytest.mark.parametrize(
    ("cell", "found"),
    [
        (Cell(0.948, -0.909, 2.805), Cell(0.948, 0.0, 2.805)),  # as three pictures gave it
        (Cell(0.948, 0.9, 1.0), Cell(0.948, 0.9, 1.0)),
        (Cell(-0.2, -0.5, 0.1), Cell(-0.2, -0.5, 0.1)),  # an unbiased estimate, as KID is
        (Cell(1.0), Cell(1.0)),
        (EMPTY, EMPTY),
    ],
)
def test_an_interval_of_what_is_never_below_zero(cell: Cell, found: Cell) -> None:
    assert from_zero(cell) == found
