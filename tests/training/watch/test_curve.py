"""Curves that an interruption does not change."""

from pathlib import Path

import pytest

from diffusion4k.training.watch.curve import Curve


def test_rows_after_the_checkpoint_are_dropped(tmp_path: Path) -> None:
    path = tmp_path / "loss.csv"
    whole = Curve(path, ("loss", "rate"))
    for step in range(1, 6):
        whole.add(step, 1 / step, 1e-6)
    whole.close()
    content = path.read_bytes()
    again = Curve(path, ("loss", "rate"), resume_after=2)
    for step in range(3, 6):
        again.add(step, 1 / step, 1e-6)
    again.sync()
    again.close()
    assert path.read_bytes() == content
    assert [float(row["loss"]) for row in Curve.read(path)] == [1 / s for s in range(1, 6)]


def test_a_row_cut_off_by_a_crash_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "loss.csv"
    path.write_text("step,loss\n1,0.5\n2,0.2")
    assert [row["step"] for row in Curve.read(path)] == ["1"]
    Curve(path, ("loss",), resume_after=2).close()
    assert path.read_text() == "step,loss\n1,0.5\n"


def test_a_new_run_starts_a_new_curve(tmp_path: Path) -> None:
    path = tmp_path / "loss.csv"
    path.write_text("step,loss\n0,0.5\n1,0.5\n")
    Curve(path, ("loss",)).close()
    assert path.read_text() == "step,loss\n"


@pytest.mark.parametrize(
    "garbage",
    [b"\xff\xfe\0\0\n", b"x,y\n", b"-1,2\n", b"1,much\n", b"9" * 20_000 + b",1\n", b"1\n", b",\n"],
)
def test_rows_that_are_none_are_left_out(tmp_path: Path, garbage: bytes) -> None:
    path = tmp_path / "loss.csv"
    path.write_bytes(b"step,loss\n1,0.5\n" + garbage + b"2,0.25\n")
    assert [row["loss"] for row in Curve.read(path)] == ["0.5", "0.25"]
    path.write_bytes(garbage)
    Curve(path, ("loss",), resume_after=5).close()
    assert path.read_bytes() == b"step,loss\n"
