"""Times of stages, over several runs."""

from pathlib import Path

import pytest

from diffusion4k.demo.stages import Stages


def test_times_add_up_over_runs(tmp_path: Path) -> None:
    path = tmp_path / "timings.json"
    first = Stages(path, 2)
    with first.stage("a", "first"):
        pass
    with pytest.raises(KeyboardInterrupt), first.stage("b", "second"):
        raise KeyboardInterrupt
    second = Stages(path, 2)
    assert second.runs == 2
    assert second.seconds == first.seconds
    before = second.seconds["a"]
    with second.stage("a", "first"):
        pass
    assert second.seconds["a"] > before
    assert second.peak_gib > 0


@pytest.mark.parametrize("content", ["", "[]", "{"])
def test_damaged_times_start_anew(content: str, tmp_path: Path) -> None:
    path = tmp_path / "timings.json"
    path.write_text(content)
    assert (Stages(path, 1).runs, Stages(path, 1).seconds) == (1, {})


def test_says_which_of_how_many(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    stages = Stages(tmp_path / "timings.json", 2)
    for name in "ab":
        with stages.stage(name, f"stage {name}"):
            stages.say("a line")
    lines = capsys.readouterr().err.splitlines()
    assert lines == [
        "1/2 stage a", "    a line", "    0 s, 0 s in total",
        "2/2 stage b", "    a line", "    0 s, 0 s in total",
    ]  # fmt: skip
