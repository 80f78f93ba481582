"""The run as a whole: right numbers, nothing lost, nothing loaded that is not needed."""

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import DiffusionPipeline
from PIL import Image, ImageChops
from safetensors.torch import load_file, save_file

from diffusion4k.errors import Diffusion4kError, UsageError
from diffusion4k.families.sd3 import StableDiffusion3
from diffusion4k.sampling import Request, generate
from diffusion4k.support import progress
from diffusion4k.training.checkpoint.sharded import whole_tensors
from diffusion4k.training.loop import train
from diffusion4k.training.recipe.recipe import Recipe, load_recipe
from tests.training.reference import weights_after_one_step

Make = Callable[..., Recipe]
LAST = "checkpoints/step-000006"
WEIGHTS = "transformer/diffusion_pytorch_model.safetensors"


def _weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / WEIGHTS)


def _rows(path: Path) -> list[dict[str, float]]:
    with path.open() as file:
        return [{key: float(value) for key, value in row.items()} for row in csv.DictReader(file)]


@pytest.mark.parametrize(
    "keys",
    [
        {},
        {"objective": {"name": "wavelet-flow", "space": "latents"}},
        {"gradient_accumulation": 3},
        {"clip_norm": 1e-3, "optimizer": {"learning_rate": 1e-3, "weight_decay": 0.5}},
        {"gradient_checkpointing": False, "clip_norm": None},
    ],
    ids=["plain", "of latents", "accumulation", "clipping", "no checkpointing"],
)
def test_a_step_is_that_of_plain_pytorch(recipe: Make, keys: dict[str, Any]) -> None:
    wanted = recipe(steps=1, **keys)
    weights = _weights(train(wanted))
    expected = weights_after_one_step(wanted)
    # Adam's first step is the gradient's sign: where a gradient is rounding noise, so is the sign.
    wrong = sum(((weights[name] - e).abs() > 1e-6).sum().item() for name, e in expected.items())
    assert wrong <= 1e-3 * sum(e.numel() for e in expected.values())
    assert weights.keys() >= expected.keys()


def test_a_resumed_run_ends_with_the_same_bits(recipe: Make, tmp_path: Path) -> None:
    keys = {"ema": 0.9, "validation": {"every": 2, "samples": 3}, "gradient_accumulation": 2}
    whole = train(recipe(**keys, output=str(tmp_path / "whole")))
    train(recipe(**keys, steps=3))
    resumed = train(recipe(**keys))
    for name, value in _weights(whole).items():
        assert torch.equal(value, _weights(resumed)[name]), name
    first, second = (whole_tensors(run.parent / LAST) for run in (whole, resumed))
    assert {name.partition("/")[0] for name in first} == {"weights", "optimizer", "average"}
    assert first.keys() == second.keys()
    assert all(torch.equal(value, second[name]) for name, value in first.items())
    assert (whole.parent / "loss.csv").read_bytes() == (resumed.parent / "loss.csv").read_bytes()
    assert (
        _rows(resumed.parent / "validation.csv")[-1] == _rows(whole.parent / "validation.csv")[-1]
    )


def test_progress_tells_rate_time_left_and_loss(
    recipe: Make, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(progress, "SECONDS_BETWEEN_LINES", 0)
    wanted = recipe(steps=2)
    train(wanted)
    told = [line for line in capsys.readouterr().err.splitlines() if line.startswith("steps: ")]
    with (wanted.output / "loss.csv").open() as curve:
        losses = [float(row["loss"]) for row in csv.DictReader(curve)]
    assert len(told) == len(losses) == 2
    for done, (line, loss) in enumerate(zip(told, losses, strict=True), 1):
        assert line.startswith(f"steps: {done}/2, ") and " images/s, 0:00:0" in line
        mean = sum(losses[:done]) / done
        assert line.endswith(f" left, loss {loss:.4f}, mean of {done}: {mean:.4f}")


def test_curves_and_checkpoints(recipe: Make) -> None:
    output = train(recipe(validation={"every": 4, "samples": 2}, checkpoint={"every": 2})).parent
    losses = _rows(output / "loss.csv")
    assert [row["step"] for row in losses] == [1, 2, 3, 4, 5, 6]
    assert all(row["loss"] > 0 and row["gradient_norm"] > 0 for row in losses)
    assert all(row["learning_rate"] == 1e-3 for row in losses)
    assert [row["step"] for row in _rows(output / "validation.csv")] == [0, 4, 6]
    assert sorted(p.name for p in (output / "checkpoints").iterdir()) == [
        "step-000004",
        "step-000006",
    ]
    assert list((output / "tensorboard").glob("events.*"))
    assert load_recipe(output / "recipe.yaml").steps == 6


def test_training_lowers_the_loss_it_optimises(recipe: Make) -> None:
    wanted = recipe(steps=30, batch_size=4, validation={"every": 30, "samples": 8})
    start, end = _rows(train(wanted).parent / "validation.csv")
    assert end["loss"] < 0.9 * start["loss"]


def test_the_validation_loss_asks_the_same_every_time(recipe: Make, tmp_path: Path) -> None:
    keys = {"steps": 2, "optimizer": {"learning_rate": 1e-30, "weight_decay": 0}}
    for batch, samples in ((1, 5), (5, 5)):
        validation = {"every": 1, "samples": samples, "seed": 4}
        output = str(tmp_path / str(batch))
        train(recipe(**keys, batch_size=batch, validation=validation, output=output))
    one, other = (_rows(tmp_path / name / "validation.csv") for name in ("1", "5"))
    assert len({row["loss"] for row in one}) == 1
    assert one[0]["loss"] == pytest.approx(other[0]["loss"], rel=1e-5)


def test_validation_images_are_those_of_generate(recipe: Make, tmp_path: Path) -> None:
    validation = {
        "every": 1,
        "prompts": ["a cat", "a dog"],
        "seed": 3,
        "width": 96,
        "height": 64,
        "sampling_steps": 2,
        "guidance": 4.0,
    }
    model = train(recipe(steps=1, validation=validation))
    requests = [
        Request(p, 3, width=96, height=64, steps=2, guidance=4.0) for p in ("a cat", "a dog")
    ]
    images = generate(requests, model, out=tmp_path / "images", progress=False)
    for number, image in enumerate(images, 1):
        preview = Image.open(model.parent / f"validation/step-000001/{number:02}.png")
        difference = ImageChops.difference(preview, Image.open(image.path))
        assert max(high for _, high in difference.getextrema()) <= 1


def test_nothing_but_the_transformer_is_loaded_when_the_cache_is_complete(
    recipe: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The result of a first run is the base of the others: its autoencoder is F=16 already.
    base = str(train(recipe(steps=1, output=str(tmp_path / "base"))))
    keys = {"steps": 1, "model": base, "cache": str(tmp_path / "cache")}
    train(recipe(**keys, output=str(tmp_path / "first")))
    for loader in ("load_autoencoder", "load_text_encoders", "load_pipeline"):
        monkeypatch.setattr(StableDiffusion3, loader, lambda *_, **__: pytest.fail("loaded"))
    train(recipe(**keys, output=str(tmp_path / "second"), validation={"every": 1, "samples": 2}))


def test_the_result_loads_with_plain_diffusers(recipe: Make, tiny_model: Path) -> None:
    model = train(recipe(ema=0.5, checkpoint={"every": 1}))
    pipeline = DiffusionPipeline.from_pretrained(model, text_encoder_3=None, tokenizer_3=None)
    assert pipeline.vae_scale_factor == 16
    image = pipeline("a cat", width=96, height=64, num_inference_steps=1).images[0]
    assert image.size == (96, 64)
    weights, base = _weights(model), _weights(tiny_model)
    saved = whole_tensors(model.parent / LAST)
    average = {n.removeprefix("average/"): v for n, v in saved.items() if n.startswith("average/")}
    assert average and all(torch.equal(weights[name], average[name]) for name in average)
    assert not torch.equal(weights["proj_out.weight"], base["proj_out.weight"])
    card = (model / "README.md").read_text()
    assert "seed 0" in card and "learning_rate: 0.001" in card and "torch" in card


@pytest.mark.parametrize("dtype", ["torch.bfloat16", "torch.float32"])
def test_the_snippet_of_the_card_runs_as_printed(
    recipe: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dtype: str
) -> None:
    model = train(recipe(steps=1))
    for part in ("vae", "text_encoder", "text_encoder_2"):  # as files of a hub are
        _store_in_half(model / part)
    _, snippet, *_ = (model / "README.md").read_text().split("```python\n")
    code = snippet.split("```")[0].replace("path/to/this/folder", str(model))
    monkeypatch.chdir(tmp_path)
    exec(compile(code.replace("torch.bfloat16", dtype), "README.md", "exec"), {})
    assert Image.open("image.png").size == (64, 64)


def _store_in_half(folder: Path) -> None:
    (path,) = folder.glob("*.safetensors")
    save_file({k: v.half() for k, v in load_file(path).items()}, path, {"format": "pt"})


def test_a_finished_run_goes_on_with_more_steps(recipe: Make, tmp_path: Path) -> None:
    train(recipe(steps=2))
    train(recipe(steps=2))
    longer = train(recipe(steps=4))
    whole = train(recipe(steps=4, output=str(tmp_path / "whole")))
    assert torch.equal(_weights(longer)["proj_out.weight"], _weights(whole)["proj_out.weight"])


def test_a_changed_recipe_is_refused(recipe: Make) -> None:
    train(recipe(steps=1))
    with pytest.raises(UsageError) as error:
        train(recipe(steps=2, batch_size=1, timesteps={"distribution": "uniform"}))
    told = str(error.value)
    assert "batch_size (2 -> 1)" in told
    assert "timesteps.distribution (logit-normal -> uniform)" in told
    assert "checkpoint" not in told.split("since:")[1].split(";")[0]


def test_a_loss_that_is_not_finite_stops_the_run(recipe: Make) -> None:
    wanted = recipe(optimizer={"learning_rate": 1e30}, checkpoint={"every": 1}, clip_norm=None)
    with pytest.raises(Diffusion4kError, match=r"step 2: loss (nan|inf).*step-000001") as error:
        train(wanted)
    assert "\n" not in str(error.value)
    assert not (wanted.output / "model").exists()


def test_an_unknown_wavelet_is_refused(recipe: Make) -> None:
    with pytest.raises(UsageError, match="objective: "):
        train(recipe(objective={"name": "wavelet-flow", "wavelet": "nonsense"}))


def test_bf16_on_the_cpu(recipe: Make) -> None:
    weights = _weights(train(recipe(precision="bf16", steps=2)))
    assert all(value.dtype == torch.float32 for value in weights.values())
