"""kill -9 at random moments: the same captions in the end, and nothing paid twice.

Only requests under way at a kill may be paid again, and only by an endpoint that does not honour
the Idempotency-Key.
"""

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from diffusion4k.curation.captions.publish import caption_folder
from diffusion4k.curation.captions.settings import CaptionSettings
from diffusion4k.data.folder import METADATA, read_folder
from tests.curation.captions.conftest import make_pictures
from tests.endpoint.server import StandIn, serving

Make = Callable[..., CaptionSettings]
CONCURRENCY = 6
ROOT = Path(__file__).parents[3]


def start(folder: Path, url: str, *more: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "tests.curation.captions.command", "caption", str(folder)]
    command += ["--endpoint", url, "--concurrency", str(CONCURRENCY), *more]
    return subprocess.Popen(command, cwd=ROOT, env=os.environ | {"NO_COLOR": "1"})


def wait_for(happened: Callable[[], bool], process: subprocess.Popen[bytes]) -> None:
    while process.poll() is None and not happened():
        time.sleep(0.002)


@pytest.mark.parametrize("honours_keys", [False, True])
@pytest.mark.parametrize(
    ("kills", "number"), [(2, 60), pytest.param(20, 1000, marks=pytest.mark.slow)]
)
def test_killed_at_random_and_started_again(
    kills: int, number: int, honours_keys: bool, settings: Make, tmp_path: Path
) -> None:
    folder = tmp_path / "pictures"
    pictures = make_pictures(folder, number)
    chance = random.Random(kills)
    faults = ("429", "500", "cut", "reset") if honours_keys else ("429", "500")
    standin = StandIn(
        faults, 1, ("refused", "long"), 1, honours_keys=honours_keys, latency=0.02, seed=kills
    )
    with serving(standin) as url:
        for _ in range(kills):
            goal = standin.requests + chance.randint(1, number // kills)
            process = start(folder, url)
            wait_for(lambda goal=goal: standin.requests >= goal, process)
            time.sleep(chance.uniform(0, 0.03))
            process.kill()
            assert process.wait() == -signal.SIGKILL
            assert not (folder / METADATA).exists()
        assert start(folder, url).wait() == 0
        time.sleep(0.1)  # The server still answers those that were killed.
        # A run in one go, against an endpoint that behaves, writes the same.
        fresh = tmp_path / "fresh"
        make_pictures(fresh, number)
        with serving(StandIn()) as other:
            caption_folder(fresh, settings(other), progress=False)
    assert (folder / METADATA).read_bytes() == (fresh / METADATA).read_bytes()
    assert len(read_folder(folder)) == number
    again = standin.answered.total() - number
    print(f"{kills} kills, {number} pictures: {again} captions paid twice")
    if honours_keys:
        assert again == 0
    else:
        assert again <= kills * CONCURRENCY
    assert set(standin.answered) and len(standin.answered) == number
    assert not list(pictures[0].parent.glob("*.part*"))


def test_ctrl_c_waits_for_what_is_paid_and_the_same_command_goes_on(tmp_path: Path) -> None:
    folder = tmp_path / "pictures"
    make_pictures(folder, 40)
    standin = StandIn(latency=0.3)
    with serving(standin) as url:
        process = start(folder, url)
        wait_for(lambda: standin.requests > CONCURRENCY, process)
        process.send_signal(signal.SIGINT)
        assert process.wait() == 130
        paid = standin.answered.total()
        assert CONCURRENCY < paid < 40
        assert start(folder, url).wait() == 0
    assert set(standin.answered.values()) == {1} and len(standin.answered) == 40
