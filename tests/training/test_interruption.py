"""Killed, stopped or shared between processes: the run comes to the same end."""

import os
import random
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from safetensors.torch import load_file

from diffusion4k.training.checkpoint.checkpoint import latest_checkpoint, read_state
from diffusion4k.training.loop import train
from diffusion4k.training.recipe.recipe import Recipe
from diffusion4k.training.watch.curve import Curve
from tests.training.process import assert_same_end, said, start, start_many, wait_for_rows
from tests.training.reference import weights_after_one_step

Make = Callable[..., Recipe]
WEIGHTS = "model/transformer/diffusion_pytorch_model.safetensors"
KEYS = {"ema": 0.9, "validation": {"every": 5, "samples": 2}, "checkpoint": {"every": 2}}


@pytest.mark.parametrize(
    ("kills", "steps"), [(2, 12), pytest.param(20, 100, marks=pytest.mark.slow)]
)
def test_killed_at_random_and_started_again(
    recipe: Make, tmp_path: Path, kills: int, steps: int
) -> None:
    whole = train(recipe(**KEYS, steps=steps, output=str(tmp_path / "whole"))).parent
    chance = random.Random(kills)
    wanted = recipe(**KEYS, steps=steps)
    for _ in range(kills):
        saved = latest_checkpoint(wanted.output / "checkpoints")
        done = read_state(saved)["step"] if saved else 0
        process = start(wanted)
        wait_for_rows(process, wanted.output, min(done + chance.randint(0, 5), steps - 3))
        time.sleep(chance.uniform(0, 0.2))
        process.kill()
        process.join()
        assert process.exitcode == -signal.SIGKILL
    process = start(wanted)
    process.join()
    assert process.exitcode == 0
    assert_same_end(whole, wanted.output, [WEIGHTS])
    left = {path.name for path in (wanted.output / "checkpoints").iterdir()}
    assert left == {f"step-{steps - 2:06}", f"step-{steps:06}"}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_saves_the_step_it_finds(recipe: Make, tmp_path: Path, number: int) -> None:
    if signal.getsignal(number) is signal.SIG_IGN:
        pytest.skip("who runs the tests has this signal ignored, as nohup does with SIGHUP")
    keys = {"steps": 400, "checkpoint": {"every": 1000}}
    wanted = recipe(**keys)
    process = start(wanted)
    wait_for_rows(process, wanted.output, 2)
    process_id = process.pid
    assert process_id
    os.kill(process_id, number)
    process.join()
    assert process.exitcode == 128 + number
    saved = latest_checkpoint(wanted.output / "checkpoints")
    assert saved
    done = read_state(saved)["step"]
    assert done == len(Curve.read(wanted.output / "loss.csv"))
    last = said(wanted).splitlines()[-1]
    assert f"after step {done} of 400" in last and "run the same command to continue" in last
    whole = train(recipe(steps=done + 1, output=str(tmp_path / "whole"))).parent
    assert_same_end(whole, train(recipe(steps=done + 1)).parent, [WEIGHTS])


def test_two_processes_train_as_one(recipe: Make, tmp_path: Path) -> None:
    wanted = recipe(steps=1, gradient_accumulation=2)
    for process in (processes := start_many(wanted)):
        process.join()
    assert [process.exitcode for process in processes] == [0, 0], said(wanted)
    weights = load_file(wanted.output / WEIGHTS)
    expected = weights_after_one_step(wanted, world=2)
    wrong = sum(((weights[name] - e).abs() > 1e-6).sum().item() for name, e in expected.items())
    assert wrong <= 1e-3 * sum(e.numel() for e in expected.values())
    assert len(Curve.read(wanted.output / "loss.csv")) == 1
