"""What a run tells of itself: bands against sums by hand, trackers, guard, images beside it."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from statistics import median

import numpy as np
import pytest
import pywt
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageChops

from diffusion4k.errors import Diffusion4kError, UsageError
from diffusion4k.training import loop, method
from diffusion4k.training.loop import train
from diffusion4k.training.recipe.recipe import GuardRecipe, LogRecipe, Recipe
from diffusion4k.training.run import TrainingRun
from diffusion4k.training.watch.bands import BANDS, LossBySigma
from diffusion4k.training.watch.curve import Curve
from diffusion4k.training.watch.step_guard import Guard
from diffusion4k.training.watch.trackers import check_trackers, open_trackers

Make = Callable[..., Recipe]


def _rows(path: Path) -> list[dict[str, float]]:
    return [{k: float(v) for k, v in row.items()} for row in Curve.read(path)]


def test_bands_are_those_of_pywavelets_and_a_loop() -> None:
    torch.manual_seed(0)
    bands, batches = LossBySigma(), []
    for _ in range(3):
        latents, noise, velocity = (torch.randn(5, 4, 6, 8) for _ in range(3))
        sigma, loss = torch.rand(5), torch.rand(5)
        question = {"latents": latents, "noise": noise, "sigma": sigma, "loss": loss}
        bands.add(LossBySigma.measure(velocity, **question).tolist())
        batches.append((velocity - (noise - latents), sigma, loss))
    row = bands.row()
    squares: dict[str, list[float]] = {name: [] for name in BANDS}
    for error, sigma, loss in batches:
        for e, s, value in zip(error, sigma.tolist(), loss.tolist(), strict=True):
            squares[f"sigma_{math.floor(s * 10) / 10:.1f}"].append(value)
            low, (across, along, both) = pywt.dwt2(e.double().numpy(), "haar", axes=(-2, -1))
            for name, band in zip(
                ("LL", "LH", "HL", "HH"), (low, across, along, both), strict=True
            ):
                squares[f"velocity_{name}"].append(np.square(band).mean())
    for name, values in squares.items():
        expected = np.mean(values) if values else math.nan
        np.testing.assert_allclose(row[name], expected, rtol=1e-5)
    assert all(math.isnan(value) for value in bands.row().values())


def test_curves_by_band_and_their_resuming(recipe: Make, tmp_path: Path) -> None:
    keys = {"steps": 9, "log": {"every": 3}, "checkpoint": {"every": 2}}
    whole = train(recipe(**keys, output=str(tmp_path / "whole"))).parent
    rows = _rows(whole / "bands.csv")
    assert [row["step"] for row in rows] == [3, 6, 9]
    assert set(rows[0]) == {"step", *BANDS}
    assert all(row["velocity_HH"] > 0 for row in rows)
    train(recipe(**(keys | {"steps": 4})))
    resumed = train(recipe(**keys)).parent
    assert (resumed / "bands.csv").read_bytes() == (whole / "bands.csv").read_bytes()


@given(
    losses=st.lists(st.sampled_from([1.0, 1.1, 0.9, 5.0, 50.0, math.nan, math.inf]), max_size=60),
    cut=st.integers(0, 60),
)
def test_the_guard_judges_as_a_loop_does(losses: list[float], cut: int) -> None:
    wanted = GuardRecipe(spike=3.0, window=12, patience=3)
    guard, good, in_a_row = Guard(wanted), [], 0
    for number, loss in enumerate(losses):
        if number == cut:  # killed here, and started again
            saved = json.loads(json.dumps(guard.state()))
            guard = Guard(wanted)
            guard.load(saved)
        window = good[-12:]
        bad = not math.isfinite(loss) or (len(window) >= 10 and loss > 3 * median(window))
        assert bool(guard.judge(loss, 1.0)) == bad
        in_a_row = in_a_row + 1 if bad else 0
        good += [] if bad else [loss]
        assert guard.has_enough == (in_a_row >= 3)
    assert Guard(wanted).judge(1.0, math.inf)


def test_a_bad_step_changes_nothing_and_enough_of_them_stop_the_run(
    recipe: Make, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = method.draw_noise
    calls: list[int] = []

    def broken(*arguments: object) -> tuple[torch.Tensor, torch.Tensor]:
        noise, sigma = whole(*arguments)  # type: ignore[arg-type]
        calls.append(1)
        return (noise * math.nan if len(calls) in (3, 6, 7) else noise), sigma

    seen: list[tuple[int, torch.Tensor]] = []
    step = loop.take_step

    def watched(run: TrainingRun, number: int) -> tuple[float, float, float]:
        result = step(run, number)
        seen.append((number + 1, run.transformer.proj_out.weight.detach().clone()))
        return result

    monkeypatch.setattr(method, "draw_noise", broken)
    monkeypatch.setattr(loop, "take_step", watched)
    wanted = recipe(steps=10, guard={"patience": 2}, checkpoint={"every": 4}, ema=0.5)
    with pytest.raises(Diffusion4kError, match=r"step 7: loss nan.*checkpoint: .*step-000004"):
        train(wanted)
    told = capsys.readouterr().err
    assert "step 3 skipped: loss nan" in told and "step 6 skipped" in told
    weights = dict(seen)
    assert torch.equal(weights[3], weights[2]) and not torch.equal(weights[4], weights[3])
    assert len(_rows(wanted.output / "loss.csv")) == 6


def test_images_beside_training_are_the_same(recipe: Make, tmp_path: Path) -> None:
    validation = {"every": 4, "prompts": ["a cat"], "sampling_steps": 2, "samples": 2}
    for name, beside in (("waiting", False), ("beside", True)):
        for engine_keys in ({},) if not beside else ({}, {"lora": {"rank": 2}}):
            output = tmp_path / f"{name}{len(engine_keys)}"
            keys = {"validation": validation | {"background": beside}, "output": str(output)}
            train(recipe(**keys, **engine_keys, steps=4, ema=0.5))
            assert not list((output / "validation").glob("step-*.safetensors"))
            assert (output / "validation/step-000004/01.png").is_file()
    for step in (0, 4):
        first, second = (
            Image.open(tmp_path / name / f"validation/step-{step:06}/01.png")
            for name in ("waiting0", "beside0")
        )
        difference = ImageChops.difference(first, second)
        assert max(high for _, high in difference.getextrema()) <= 1


def _tell(tracker_names: list[str], output: Path) -> None:
    wanted = LogRecipe(trackers=tuple(tracker_names))  # type: ignore[arg-type]
    trackers = open_trackers(wanted, output, {"seed": 0}, resume_after=-1)
    for tracker in trackers:
        for step in (1, 2):
            tracker.add(step, {"train/loss": 0.5 / step})
        tracker.add_image(2, "validation/01", Image.new("RGB", (2000, 1000)))
        tracker.close()


def test_tensorboard(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    _tell(["tensorboard"], tmp_path)
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    assert [(e.step, e.value) for e in events.Scalars("train/loss")] == [(1, 0.5), (2, 0.25)]
    (image,) = events.Images("validation/01")
    assert (image.width, image.height) == (1024, 512)


def test_weights_and_biases_offline(tmp_path: Path) -> None:
    pytest.importorskip("wandb")
    _tell(["wandb"], tmp_path)
    _tell(["wandb"], tmp_path)
    folders = list((tmp_path / "wandb").glob("offline-run-*"))
    identity = json.loads((tmp_path / "wandb-run.json").read_text())["id"]
    assert folders and all(folder.name.endswith(identity) for folder in folders)
    assert all(list(folder.glob("*.wandb")) for folder in folders)


def test_trackio(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "trackio"))
    pytest.importorskip("trackio")
    _tell(["trackio"], tmp_path)
    assert list((tmp_path / "trackio").glob("*.db"))


def test_a_tracker_that_is_not_installed_is_refused(
    recipe: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"log\.trackers: wandb is not installed: `pip install"):
        check_trackers(LogRecipe(trackers=("tensorboard", "wandb")))


def test_figures_of_the_machine(recipe: Make) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    output = train(recipe(steps=4, log={"every": 2})).parent
    events = EventAccumulator(str(output / "tensorboard"))
    events.Reload()
    for name in ("images_per_second", "teraflops", "utilisation", "memory_gib"):
        values = [event.value for event in events.Scalars(f"train/{name}")]
        assert len(values) == 2 and all(value > 0 for value in values)
    assert all(event.value < 1 for event in events.Scalars("train/utilisation"))
