"""The page of a finished run: its pictures, losses and commands, and what keeps it from nothing."""

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from diffusion4k.sampling import Request, Sampler, read_metadata
from diffusion4k.training.loop import train
from diffusion4k.training.recipe.recipe import Recipe
from diffusion4k.training.watch import run_report
from diffusion4k.training.watch.curve import RecentMean
from diffusion4k.training.watch.loss_figure import loss_curve, running_mean, smoothed_over
from diffusion4k.training.watch.run_report import next_commands, write_run_report
from tests.training.conftest import CAPTIONS


@pytest.fixture
def finished(recipe: Callable[..., Recipe]) -> tuple[Recipe, Path]:
    wanted = recipe(steps=3, validation={"every": 3, "samples": 2}, report={"pictures": 2})
    return wanted, train(wanted)


def test_a_page_with_pictures_of_captions(finished: tuple[Recipe, Path]) -> None:
    recipe, result = finished
    before = {path: path.read_bytes() for path in result.rglob("*") if path.is_file()}
    path = write_run_report(recipe, result)
    assert path == recipe.output / "report.html"
    page = path.read_text()
    assert page.count("data:image/jpeg") == 4
    assert "://" not in page.replace("http://www.w3.org/", "")
    pictures = sorted((recipe.output / "report").rglob("*.jpg"))
    records = [read_metadata(picture) for picture in pictures]
    assert {record["prompt"] for record in records} == {CAPTIONS[0], CAPTIONS[6]}
    assert {(record["width"], record["height"]) for record in records} == {(64, 64)}
    models = {picture.parent.name: r["model"] for picture, r in zip(pictures, records, strict=True)}
    assert models == {"before": recipe.model, "after": str(result)}
    for text in (*(f"“{caption}”" for caption in (CAPTIONS[0], CAPTIONS[6])), "steps: 3"):
        assert text in page
    first, last = (loss for _, loss in run_report.validation_losses(recipe))
    assert f"{first:.4f} → {last:.4f}" in page
    assert all(command in page for _, command in next_commands(recipe, result))
    # The result itself is untouched, and a second page makes no picture again.
    assert {path: path.read_bytes() for path in before} == before
    times = [picture.stat().st_mtime_ns for picture in pictures]
    write_run_report(recipe, result)
    assert [picture.stat().st_mtime_ns for picture in pictures] == times


def test_what_fails_is_said_and_the_page_written(
    finished: tuple[Recipe, Path], monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    recipe, result = finished

    def refuse(*_: object, **__: object) -> None:
        raise RuntimeError("CUDA out of memory.\nTried to allocate")

    monkeypatch.setattr(run_report, "generate", refuse)
    path = write_run_report(recipe, result)
    assert path and "No pictures: CUDA out of memory. Tried to allocate." in path.read_text()
    assert "has no pictures: CUDA out of memory. Tried" in capsys.readouterr().err
    monkeypatch.setattr(run_report, "Sampler", None)
    none = recipe.model_copy(update={"report": recipe.report.model_copy(update={"pictures": 0})})
    path = write_run_report(none, result)
    assert path and "as the recipe wants none" in path.read_text()


def test_a_recipe_may_leave_it_out(recipe: Callable[..., Recipe], tmp_path: Path) -> None:
    assert recipe().report is not None and recipe(report=True).report == recipe().report
    assert write_run_report(recipe(report=False), tmp_path) is None
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("keys", "size"),
    [
        ({"resolution": 4096, "crop": None}, (1024, 1024)),
        ({"resolution": 4096, "crop": [6144, 4096]}, (1024, 672)),
        ({"resolution": 512, "crop": None}, (512, 512)),
        ({"report": {"side": 96}}, (96, 96)),
    ],
)
def test_sizes_of_the_pictures(
    recipe: Callable[..., Recipe], tiny_model: Path, keys: dict, size: tuple
) -> None:
    assert run_report._size(recipe(**keys), Sampler(tiny_model)) == size


def test_pictures_are_so_large_that_the_trained_model_takes_part(
    recipe: Callable[..., Recipe],
) -> None:
    """Up to 2048 pixels the pocket model's stages are those of its base alone."""
    sampler = Sampler("pocket")
    width, height = run_report._size(recipe(resolution=1024, crop=None), sampler)
    assert width == height and 2048 < width < 3000
    assert sampler.settle(Request("any", width=width, height=height)).stages[-1].model is None
    assert sampler.settle(Request("any", width=2048, height=2048)).stages[-1].model is not None
    assert run_report._size(recipe(resolution=512, crop=None), sampler) == (512, 512)


def test_prompts_of_the_recipe_come_first(recipe: Callable[..., Recipe], tmp_path: Path) -> None:
    given = recipe(validation={"every": None, "prompts": ["a", "a", "b", "c"]})
    assert run_report._prompts(given) == ["a", "b"]
    assert run_report._prompts(recipe(data=None)) == []
    many = recipe(report={"pictures": 50})
    assert run_report._prompts(many) == list(CAPTIONS)


def test_lora_is_named_beside_its_base(recipe: Callable[..., Recipe]) -> None:
    commands = dict(next_commands(recipe(lora={}), Path("runs/my run/lora")))
    assert "--lora 'runs/my run/lora'" in commands["make an image with it"]
    assert "--lora" not in commands["and one without"]


def test_the_curve_of_a_long_run_stays_small() -> None:
    rng = np.random.default_rng(0)
    many = list(enumerate(rng.random(20_000).tolist(), 1))
    svg = loss_curve(many, [(0, 0.6), (20_000, 0.3)])
    assert len(svg) < 400_000 and "the mean of 100 steps" in re.sub(r"\s+", " ", svg)
    assert "mean of" not in loss_curve([(1, 0.5)], [])
    np.testing.assert_allclose(running_mean(np.arange(6.0), 3), [1, 2, 3, 4])
    assert [smoothed_over(steps) for steps in (0, 7, 160, 10**6)] == [1, 1, 20, 100]


def test_progress_shows_the_mean_of_recent_losses() -> None:
    recent = RecentMean()
    assert recent.add(1.0) == "loss 1.0000, mean of 1: 1.0000"
    assert recent.add(2.0) == "loss 2.0000, mean of 2: 1.5000"
    for _ in range(50):
        told = recent.add(4.0)
    assert told == "loss 4.0000, mean of 50: 4.0000"
