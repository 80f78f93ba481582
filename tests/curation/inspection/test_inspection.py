"""What is listed, in which order, and what holds for which picture."""

from pathlib import Path

import pytest

from diffusion4k.curation.inspection.inspection import Inspection
from diffusion4k.errors import Diffusion4kError, UsageError
from tests.curation.inspection.fake import make_dataset, write_manifest
from tests.data.fake import make_folder, save_picture


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    """Candidates 0 to 6; a step has dropped 2 and 5."""
    return make_dataset(tmp_path / "dataset", 7)


def names(inspection: Inspection, *arguments: object) -> list[str]:
    return [inspection.candidates[n].name for n in inspection.numbers(*arguments)]  # type: ignore


def test_what_is_listed(dataset: Path) -> None:
    assert names(Inspection(dataset), None) == ["0.png", "1.png", "3.png", "4.png", "6.png"]
    everything = Inspection(dataset, everything=True)
    assert len(everything.numbers(None)) == 7
    everything.decide(2, "accepted")
    assert "2.png" in names(Inspection(dataset), "accepted")


def test_by_decision(dataset: Path) -> None:
    inspection = Inspection(dataset)
    inspection.decide(1, "accepted")
    inspection.decide(3, "rejected", "noise")
    inspection.fix_caption(4, "another")
    assert inspection.numbers("undecided") == [0, 2, 4]
    assert inspection.numbers("accepted") == [1]
    assert inspection.numbers("rejected") == [3]
    progress = inspection.progress()
    assert (progress.accepted, progress.rejected, progress.total) == (1, 1, 5)


def test_by_a_measure(dataset: Path) -> None:
    inspection = Inspection(dataset)
    assert inspection.numbers(None, "sharpness") == [4, 3, 2, 1, 0]
    assert inspection.numbers(None, "sharpness", True) == [0, 1, 2, 3, 4]
    assert inspection.numbers(None, "noise") == [1, 2, 3, 4, 0]  # 0 was not measured
    assert inspection.numbers(None, "noise", True) == [4, 3, 2, 1, 0]
    with pytest.raises(Diffusion4kError, match="no measure blur: allowed sharpness, noise"):
        inspection.numbers(None, "blur")


def test_decision_and_caption_do_not_touch_each_other(dataset: Path) -> None:
    inspection = Inspection(dataset)
    inspection.decide(0, "rejected", "noise")
    inspection.fix_caption(0, "a better one")
    held = inspection.holds(0)
    assert held and (held.decision, held.reason, held.caption) == (
        *("rejected", "noise"),
        "a better one",
    )
    inspection.decide(0, "accepted")
    held = inspection.holds(0)
    assert held and (held.decision, held.reason, held.caption) == ("accepted", None, "a better one")


def test_a_correction_that_the_dataset_was_built_with_stays_one(dataset: Path) -> None:
    Inspection(dataset).fix_caption(0, "picture number 0")
    assert Inspection(dataset).holds(0) is None  # That is what it says already.
    Inspection(dataset).fix_caption(0, "a better one")
    row = {"name": "0.png", "source": "0.png", "pixel_hash": "0" * 64, "text": "a better one"}
    write_manifest(dataset, [row])
    inspection = Inspection(dataset)
    inspection.fix_caption(0, "a better one")
    inspection.decide(0, "accepted")
    held = inspection.holds(0)
    assert held and held.caption == "a better one"


def test_undo_to_the_start_and_in_a_later_run(dataset: Path) -> None:
    inspection = Inspection(dataset)
    inspection.decide(0, "accepted")
    inspection.decide(1, "rejected")
    inspection.decide(0, "rejected")
    inspection = Inspection(dataset)
    assert inspection.undo() == ("0.png", 0)
    assert inspection.numbers("accepted") == [0]
    assert inspection.undo() == ("1.png", 1)
    assert inspection.undo() == ("0.png", 0)
    assert inspection.undo() == (None, None)
    assert inspection.numbers("undecided") == [0, 1, 2, 3, 4]


def test_a_decision_is_about_one_picture(dataset: Path) -> None:
    Inspection(dataset).decide(0, "rejected")
    write_manifest(dataset, [{"name": "0.png", "source": "0.png", "pixel_hash": "other"}])
    inspection = Inspection(dataset)
    assert inspection.holds(0) is None
    assert inspection.numbers("undecided") == [0]
    assert inspection.progress().rejected == 0
    inspection.decide(0, "accepted")
    assert inspection.numbers("accepted") == [0]


def test_in_a_plain_folder_too(tmp_path: Path) -> None:
    make_folder(tmp_path, [(80, 70), (90, 70)])
    inspection = Inspection(tmp_path)
    inspection.decide(0, "accepted")
    inspection.decide(1, "accepted")
    assert Inspection(tmp_path).numbers("accepted") == [0, 1]
    save_picture(tmp_path / "0.png", (80, 70), seed=9)
    assert Inspection(tmp_path).numbers("accepted") == [1]


def test_numbers_that_are_none(dataset: Path) -> None:
    inspection = Inspection(dataset)
    for number in (-1, 5, 10**9):
        with pytest.raises(Diffusion4kError, match=f"no candidate {number}"):
            inspection.decide(number, "accepted")


def test_all_dropped(tmp_path: Path) -> None:
    write_manifest(tmp_path, [{"name": "a.jpg", "source": "a.jpg", "kept": False}])
    with pytest.raises(UsageError, match="all 1 candidates were dropped: --all shows them"):
        Inspection(tmp_path)
    assert Inspection(tmp_path, everything=True).numbers(None) == [0]


def test_the_rate_does_not_count_pauses(dataset: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from diffusion4k.curation.inspection import log

    times = ["00:00:00", "00:00:02", "00:00:04", "01:00:00", "01:00:02"]
    clock = iter(times)
    monkeypatch.setattr(log, "_now", lambda: f"2030-01-01T{next(clock)}.000+00:00")
    inspection = Inspection(dataset)
    assert inspection.progress().per_minute is None
    for number in range(len(times)):
        inspection.decide(number, "accepted")
    assert inspection.progress().per_minute == pytest.approx(30)
