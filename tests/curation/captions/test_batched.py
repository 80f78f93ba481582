"""The Batch API: resumed by id or name, split by its limits, none paid twice."""

import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from diffusion4k.curation.captions.run import CaptioningStopped, caption
from diffusion4k.curation.captions.settings import CaptionSettings
from diffusion4k.errors import Diffusion4kError
from tests.curation.captions.conftest import make_pictures
from tests.curation.captions.test_kill import start, wait_for
from tests.endpoint.server import StandIn, serving

Make = Callable[..., CaptionSettings]


def test_answers_flags_and_errors(settings: Make, tmp_path: Path) -> None:
    pictures = make_pictures(tmp_path / "pictures", 12)
    standin = StandIn(("500",), 1, ("refused", "empty", "long"), 2, seed=2)
    with serving(standin) as url:
        report = caption(pictures, settings(url, batch=True), tmp_path / "c.sqlite", progress=False)
        assert set(report.captions) == set(pictures) and report.problems == []
        assert set(standin.answered.values()) == {1}
        assert len(standin.batches) > 2  # flagged and failed ones went into further batches
        assert report.spent == pytest.approx(standin.billed / 2)
        batches = len(standin.batches)
        # Live or as a batch: what is paid is paid.
        for batch in (True, False):
            wanted = settings(url, batch=batch)
            again = caption(pictures, wanted, tmp_path / "c.sqlite", progress=False)
            assert again.captions == report.captions
        assert len(standin.batches) == batches and standin.requests == 0


def test_split_by_requests_and_by_bytes(
    settings: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pictures = make_pictures(tmp_path / "pictures", 7)
    monkeypatch.setattr("diffusion4k.endpoint.batches.MOST_REQUESTS", 3)
    with serving(standin := StandIn()) as url:
        wanted = settings(url, batch=True)
        caption(pictures, wanted, tmp_path / "c.sqlite", progress=False)
        assert [len(file.splitlines()) for name, file in standin.files.items()][:3] == [3, 3, 1]
        monkeypatch.setattr("diffusion4k.endpoint.batches.MOST_BYTES", 1)
        caption(pictures, wanted, tmp_path / "other.sqlite", progress=False)
    assert len(standin.batches) == 3 + 7


def test_a_batch_whose_creation_got_lost_is_found_by_its_name(
    settings: Make, tmp_path: Path
) -> None:
    pictures = make_pictures(tmp_path / "pictures", 3)
    with serving(standin := StandIn(batch_faults=["lost"])) as url:
        wanted = settings(url, batch=True)
        report = caption(pictures, wanted, tmp_path / "c.sqlite", progress=False)
    assert len(report.captions) == 3 and len(standin.batches) == 1


def test_expired_with_half_of_the_answers(settings: Make, tmp_path: Path) -> None:
    pictures = make_pictures(tmp_path / "pictures", 8)
    with serving(standin := StandIn(batch_faults=["expired"])) as url:
        wanted = settings(url, batch=True)
        report = caption(pictures, wanted, tmp_path / "c.sqlite", progress=False)
    assert len(report.captions) == 8
    assert set(standin.answered.values()) == {1} and len(standin.batches) == 2


def test_not_accepted(settings: Make, tmp_path: Path) -> None:
    pictures = make_pictures(tmp_path / "pictures", 2)
    with serving(standin := StandIn(batch_faults=["failed"])) as url:
        wanted = settings(url, batch=True)
        with pytest.raises(CaptioningStopped, match="Enqueued limit reached") as stopped:
            caption(pictures, wanted, tmp_path / "c.sqlite", progress=False)
        assert stopped.value.report.spent == 0
        report = caption(pictures, wanted, tmp_path / "c.sqlite", progress=False)
    assert len(report.captions) == 2 and len(standin.batches) == 2


def test_a_batch_that_another_key_made(settings: Make, tmp_path: Path) -> None:
    pictures = make_pictures(tmp_path / "pictures", 2)
    with serving(standin := StandIn()) as url:
        wanted = settings(url, batch=True)
        standin.forgetful = True
        with pytest.raises(
            CaptioningStopped, match=r"batch_0 is not known at .* delete its row"
        ) as stopped:
            caption(pictures, wanted, tmp_path / "c.sqlite", progress=False)
        assert stopped.value.report.spent > 0  # it may be answered and billed
        standin.forgetful = False
        report = caption(pictures, wanted, tmp_path / "c.sqlite", progress=False)
    assert len(report.captions) == 2 and len(standin.batches) == 1


def test_budget(settings: Make, tmp_path: Path) -> None:
    pictures = make_pictures(tmp_path / "pictures", 20)
    with serving(standin := StandIn()) as url:
        wanted = settings(url, batch=True, budget=0.01)
        with pytest.raises(CaptioningStopped, match="budget of"):
            caption(pictures, wanted, tmp_path / "c.sqlite", progress=False)
        assert 0 < standin.billed / 2 <= 0.01
        more = settings(url, batch=True, budget=1.0)
        report = caption(pictures, more, tmp_path / "c.sqlite", progress=False)
    assert len(report.captions) == 20 and set(standin.answered.values()) == {1}


@pytest.mark.parametrize("moment", ["uploaded", "created", "waiting"])
def test_killed_and_started_again(moment: str, settings: Make, tmp_path: Path) -> None:
    folder = tmp_path / "pictures"
    pictures = make_pictures(folder, 5)
    standin = StandIn()
    slow = ("--batch",) if moment != "waiting" else ("--batch", "--timeout", "60")
    with serving(standin) as url:
        process = start(folder, url, *slow)
        reached = {
            "uploaded": lambda: bool(standin.files),
            "created": lambda: bool(standin.batches),
            "waiting": lambda: any(b["status"] != "validating" for b in standin.batches.values()),
        }
        wait_for(reached[moment], process)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        known = len(standin.batches)
        if moment == "waiting":
            # Neither live, nor with other settings, before the batch is collected.
            for other in (settings(url), settings(url, batch=True, prompt="Say.")):
                with pytest.raises(Diffusion4kError, match="under way"):
                    caption(pictures, other, folder / "captions.sqlite", progress=False)
        wanted = settings(url, batch=True)
        report = caption(pictures, wanted, folder / "captions.sqlite", progress=False)
    assert len(report.captions) == 5
    assert len(standin.batches) == max(known, 1)
    assert set(standin.answered.values()) == {1}
    assert report.spent == pytest.approx(standin.billed / 2)
