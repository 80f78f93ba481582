"""What days bring: processes that die, checkpoints cut short, full disks; the run ends the same."""

import os
import random
import shutil
import signal
import time
from collections import Counter
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from diffusion4k.training.checkpoint.checkpoint import latest_checkpoint
from diffusion4k.training.recipe.recipe import Recipe
from diffusion4k.training.watch.curve import Curve
from tests.training.conftest import CAPTIONS
from tests.training.process import join, said, start_many, used_samples

Make = Callable[..., Recipe]
Started = list[BaseProcess]
WEIGHTS = "model/transformer/diffusion_pytorch_model.safetensors"
FULL = 50_000  # bytes: less than any share of a checkpoint has


@pytest.mark.parametrize(
    ("engine", "processes", "kills", "steps"),
    [
        ("fsdp2", 2, 4, 16),
        pytest.param("auto", 1, 50, 150, marks=pytest.mark.slow),
        pytest.param("fsdp2", 2, 50, 150, marks=pytest.mark.slow),
        pytest.param("ddp", 2, 50, 150, marks=pytest.mark.slow),
        pytest.param("deepspeed", 2, 50, 150, marks=pytest.mark.slow),
    ],
)
def test_every_disaster_is_survived(
    recipe: Make, tmp_path: Path, engine: str, processes: int, kills: int, steps: int
) -> None:
    keys = {
        "engine": engine,
        "offload": engine == "deepspeed",
        "ema": 0.9,
        "validation": {"every": 7, "samples": 2},
        "checkpoint": {"every": 2, "keep": 2},
        "batch_size": 2 // processes,
        "gradient_accumulation": 2,
        "steps": steps,
    }
    # A cache of its own, as it is damaged here.
    whole = recipe(**keys, output=str(tmp_path / "whole"), cache=str(tmp_path / "whole-cache"))
    assert not any(join(start_many(whole, processes))), said(whole)
    wanted = recipe(**keys, output=str(tmp_path / "run" / "run"), cache=str(tmp_path / "cache"))
    wanted.output.parent.mkdir()

    chance = random.Random(kills)
    disasters = [_kill_one, _kill_all, _kill_in_checkpoint, _full_disk, _cut_share, _cut_cache]
    for number in range(kills):
        disasters[number % len(disasters)](wanted, processes, chance)
        _no_sign_of_half_a_checkpoint(wanted)
    assert not any(join(start_many(wanted, processes, RECORD="1"))), said(wanted)

    one, other = (load_file(each.output / WEIGHTS) for each in (whole, wanted))
    assert one.keys() == other.keys()
    assert all(torch.equal(value, other[name]) for name, value in one.items())
    for curve in ("loss.csv", "validation.csv"):
        assert (whole.output / curve).read_bytes() == (wanted.output / curve).read_bytes()
    _each_picture_once_an_epoch(wanted, steps)


def _each_picture_once_an_epoch(recipe: Recipe, steps: int) -> None:
    used = used_samples(recipe)
    assert {step for step, _, _ in used} == set(range(steps))
    # A step that was computed again took the same pictures again.
    assert all(len(set(times)) == 1 for times in used.values())
    order = [index for key in sorted(used) for index in used[key][0]]
    count = len(CAPTIONS)
    for start in range(0, len(order), count):
        epoch = Counter(order[start : start + count])
        assert max(epoch.values()) == 1
        assert len(epoch) == min(count, len(order) - start)


def _start(recipe: Recipe, processes: int, chance: random.Random, **environment: str) -> Started:
    """Start, and wait until a few more steps are done than before."""
    before = len(Curve.read(recipe.output / "loss.csv"))
    started = start_many(recipe, processes, RECORD="1", **environment)
    goal = min(before + chance.randint(0, 4), recipe.steps - 4)
    while started[0].is_alive() and len(Curve.read(recipe.output / "loss.csv")) < goal:
        time.sleep(0.005)
    return started


def _kill_one(recipe: Recipe, processes: int, chance: random.Random) -> None:
    started = _start(recipe, processes, chance)
    time.sleep(chance.uniform(0, 0.2))
    started[chance.randrange(processes)].kill()
    # The others find that out by themselves, or the launcher ends them.
    join(started)


def _kill_all(recipe: Recipe, processes: int, chance: random.Random) -> None:
    started = _start(recipe, processes, chance)
    time.sleep(chance.uniform(0, 0.2))
    for process in started:
        process.kill()
    join(started)


def _kill_in_checkpoint(recipe: Recipe, processes: int, chance: random.Random) -> None:
    started = _start(recipe, processes, chance)
    folder = recipe.output / "checkpoints"
    while started[0].is_alive() and not any(folder.glob(".step-*.part")):
        time.sleep(0.0005)
    time.sleep(chance.uniform(0, 0.02))
    for process in started:
        os.kill(process.pid or 0, signal.SIGKILL)
    join(started)


def _full_disk(recipe: Recipe, processes: int, chance: random.Random) -> None:
    before = latest_checkpoint(recipe.output / "checkpoints")
    codes = join(start_many(recipe, processes, RECORD="1", LARGEST_FILE=str(FULL)))
    assert all(codes), said(recipe)
    assert "cannot be written" in said(recipe) and "free some space" in said(recipe)
    assert latest_checkpoint(recipe.output / "checkpoints") == before


def _cut_share(recipe: Recipe, processes: int, chance: random.Random) -> None:
    checkpoint = latest_checkpoint(recipe.output / "checkpoints")
    if checkpoint:
        _cut(chance.choice(sorted(checkpoint.glob("*.safetensors"))), chance)
        damaged = checkpoint.with_name(f"damaged-{checkpoint.name}")
        shutil.rmtree(damaged, ignore_errors=True)
        # To be told and set aside, it has to be looked at before the next kill.
        told, started = said(recipe).count(str(damaged)), start_many(recipe, processes, RECORD="1")
        while all(s.is_alive() for s in started) and said(recipe).count(str(damaged)) == told:
            time.sleep(0.005)
        for process in started:
            process.kill()
        join(started)
        assert damaged.is_dir()
        assert "incomplete files, continuing without it" in said(recipe)
    _kill_all(recipe, processes, chance)


def _cut_cache(recipe: Recipe, processes: int, chance: random.Random) -> None:
    shards = sorted((recipe.cache_folder / "shards").glob("[!.]*.safetensors"))
    if shards:
        _cut(chance.choice(shards), chance)
    _kill_all(recipe, processes, chance)


def _cut(file: Path, chance: random.Random) -> None:
    content = file.read_bytes()
    file.write_bytes(content[: chance.randrange(len(content))])


def _no_sign_of_half_a_checkpoint(recipe: Recipe) -> None:
    for checkpoint in (recipe.output / "checkpoints").glob("step-*"):
        assert (checkpoint / "state.json").is_file()
