"""Killed, stopped, shared between processes, or met with a broken photograph."""

import os
import random
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from diffusion4k.errors import Diffusion4kError
from diffusion4k.training.autoencoder.loop import train_autoencoder
from diffusion4k.training.autoencoder.recipe import AutoencoderRecipe
from diffusion4k.training.checkpoint.checkpoint import checkpoints, latest_checkpoint, read_state
from diffusion4k.training.watch.curve import Curve
from tests.training.autoencoder.reference import saved_weights
from tests.training.process import assert_same_end, said, start, start_many, wait_for_rows

Make = Callable[..., AutoencoderRecipe]
KEYS = {"ema": 0.9, "validation": {"every": 5, "samples": 1}, "checkpoint": {"every": 2}}


def _saved(output: Path) -> list[Path]:
    """All tensors of the last checkpoint, and what was exported."""
    last = latest_checkpoint(output / "checkpoints")
    assert last
    files = sorted(path.relative_to(output) for path in last.rglob("*.safetensors"))
    assert len(files) >= 4
    return [*files, Path("vae/diffusion_pytorch_model.safetensors")]


@pytest.mark.parametrize(
    ("kills", "steps"), [(2, 10), pytest.param(20, 100, marks=pytest.mark.slow)]
)
def test_killed_at_random_and_started_again(
    recipe: Make, tmp_path: Path, kills: int, steps: int
) -> None:
    whole = train_autoencoder(recipe(**KEYS, steps=steps, output=str(tmp_path / "whole"))).parent
    chance = random.Random(kills)
    wanted = recipe(**KEYS, steps=steps)
    for _ in range(kills):
        saved = latest_checkpoint(wanted.output / "checkpoints")
        done = read_state(saved)["step"] if saved else 0
        process = start(wanted)
        wait_for_rows(process, wanted.output, min(done + chance.randint(1, 5), steps - 3))
        time.sleep(chance.uniform(0, 0.1))
        process.kill()
        process.join()
        assert process.exitcode == -signal.SIGKILL
    process = start(wanted)
    process.join()
    assert process.exitcode == 0, said(wanted)
    assert_same_end(whole, wanted.output, _saved(whole))


def test_a_signal_saves_the_step_it_finds(recipe: Make, tmp_path: Path) -> None:
    wanted = recipe(steps=400, checkpoint={"every": 1000})
    process = start(wanted)
    wait_for_rows(process, wanted.output, 3)
    process_id = process.pid
    assert process_id
    os.kill(process_id, signal.SIGTERM)
    process.join()
    assert process.exitcode == 128 + signal.SIGTERM, said(wanted)
    saved = latest_checkpoint(wanted.output / "checkpoints")
    assert saved
    done = read_state(saved)["step"]
    assert done == len(Curve.read(wanted.output / "loss.csv"))
    assert "run the same command to continue" in said(wanted).splitlines()[-1]
    whole = train_autoencoder(recipe(steps=done + 1, output=str(tmp_path / "whole"))).parent
    again = train_autoencoder(recipe(steps=done + 1)).parent
    assert_same_end(whole, again, _saved(whole))


def test_two_processes_train_as_one(recipe: Make, tmp_path: Path) -> None:
    keys = {"steps": 2, "adversarial": {"start": 0, "channels": 4, "layers": 2}}
    shared = recipe(**keys, batch_size=1)
    for process in (processes := start_many(shared)):
        process.join()
    assert [process.exitcode for process in processes] == [0, 0], said(shared)
    alone = recipe(**keys, batch_size=2, output=str(tmp_path / "alone"))
    one = saved_weights(str(train_autoencoder(alone)))
    other = saved_weights(str(shared.output / "vae"))
    wrong = sum(((value - other[name]).abs() > 1e-5).sum().item() for name, value in one.items())
    assert wrong <= 2e-2 * sum(value.numel() for value in one.values())
    losses = [Curve.read(run.output / "loss.csv") for run in (shared, alone)]
    for row, expected in zip(*losses, strict=True):
        for name in ("loss", "weight", "discriminator", "gradient_norm"):
            assert float(row[name]) == pytest.approx(float(expected[name]), rel=1e-3)


def test_a_broken_photograph_costs_no_finished_step(
    recipe: Make, photographs: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    data = tmp_path / "broken"
    shutil.copytree(photographs, data)
    complete = (data / "2.png").read_bytes()
    (data / "2.png").write_bytes(complete[: len(complete) // 2])
    # One crop a step, so that three good photographs may come before it.
    wanted = recipe(data=str(data), batch_size=1, seed=0, checkpoint={"every": 100})
    with pytest.raises(Diffusion4kError, match=r"2\.png: damaged.*--skip-bad"):
        train_autoencoder(wanted)
    done = len(Curve.read(wanted.output / "loss.csv"))
    kept = checkpoints(wanted.output / "checkpoints")
    assert 0 < done < 4 and [path.name for path in kept] == [f"step-{done:06}"]
    found = train_autoencoder(wanted, skip_bad=True)
    assert found.is_dir() and len(Curve.read(wanted.output / "loss.csv")) == 6
    assert capfd.readouterr().err.count("skipped") == 1
