"""Which image belongs to which prompt, and images that models make."""

import json
from pathlib import Path

import pytest
from PIL import Image

from diffusion4k.benchmark.distributed import Processes
from diffusion4k.benchmark.entries import found_images, make_images, requests_of
from diffusion4k.benchmark.prompts import read_prompt_set
from diffusion4k.benchmark.recipe import BenchmarkRecipe, checked_recipe
from diffusion4k.benchmark.run import run_benchmark
from diffusion4k.errors import Diffusion4kError, UsageError
from diffusion4k.families.stages import StageOptions
from diffusion4k.sampling import Request, generate
from tests.benchmark.pictures import PROMPTS

STRONG = {"strength": 0.8, "window": 2}
PROMPT_FILE = "".join(f"{prompt}\n" for prompt in PROMPTS[:4])


def recipe_of(place: Path, model: Path, **values: object) -> BenchmarkRecipe:
    (place / "prompts.txt").write_text(PROMPT_FILE)
    settings = {
        "prompts": str(place / "prompts.txt"),
        "output": place / "out",
        "models": [{"name": "tiny", "model": str(model)}],
        "width": 128,
        "height": 128,
        "steps": 1,
        "patch_size": 64,
    }
    return checked_recipe(settings | values)


def names(place: Path) -> list[str]:
    found = (place / "out/images/tiny").glob("[!.]*.jpg")
    return sorted(path.name for path in found)


def test_captions_and_records_name_the_prompts(tmp_path: Path, tiny_model: Path) -> None:
    requests = [
        Request(PROMPTS[n], seed, width=64, height=64, steps=1) for n, seed in ((0, 5), (1, 0))
    ]
    made = generate(requests, tiny_model, out=tmp_path / "mixed", progress=False)
    Image.new("RGB", (64, 64)).save(tmp_path / "mixed/z.png")
    Image.new("RGB", (64, 64)).save(tmp_path / "mixed/y.png")
    lines = [
        {"file_name": "z.png", "text": PROMPTS[2]},
        # The caption counts, not the record in the file.
        {"file_name": made[1].path.name, "text": PROMPTS[2]},
    ]
    (tmp_path / "mixed/metadata.jsonl").write_text("\n".join(map(json.dumps, lines)))
    images = {image.path.name: image.pair for image in found_images(tmp_path / "mixed")}
    assert images == {
        made[0].path.name: (PROMPTS[0], 5),
        made[1].path.name: (PROMPTS[2], 0),
        "z.png": (PROMPTS[2], 1),
        "y.png": None,
    }


def test_numbers_and_seeds_do_not_meet(tmp_path: Path) -> None:
    lines = [{"file_name": f"{n}.png", "text": PROMPTS[0]} for n in range(4)]
    lines[1]["seed"], lines[3]["seed"] = 0, 2  # type: ignore[assignment]
    for line in lines:
        Image.new("RGB", (64, 64)).save(tmp_path / line["file_name"])
    (tmp_path / "metadata.jsonl").write_text("\n".join(map(json.dumps, lines)))
    pairs = [image.pair for image in found_images(tmp_path)]
    assert pairs == [(PROMPTS[0], seed) for seed in (1, 0, 3, 2)]
    lines[0]["seed"] = 2  # type: ignore[assignment]
    (tmp_path / "metadata.jsonl").write_text("\n".join(map(json.dumps, lines)))
    with pytest.raises(UsageError, match=r"with seed 2: keep one, or give them other seeds in"):
        found_images(tmp_path)


def test_two_images_of_one_prompt_and_seed(tmp_path: Path, tiny_model: Path) -> None:
    request = Request(PROMPTS[0], width=64, height=64, steps=1)
    [made] = generate([request], tiny_model, out=tmp_path / "images", progress=False)
    (tmp_path / "images/copy.png").write_bytes(made.path.read_bytes())
    with pytest.raises(
        UsageError, match="two images of the prompt 'a scene, number 0' with seed 0"
    ):
        found_images(tmp_path / "images")


def test_a_share_of_the_images(tmp_path: Path, tiny_model: Path) -> None:
    recipe = recipe_of(tmp_path, tiny_model, seeds=[0, 1])
    prompts = read_prompt_set(recipe.prompts)
    shares = [
        make_images(recipe, recipe.models[0], prompts, Processes(), share=slice(rank, None, 3))
        for rank in range(3)
    ]
    pairs = [image.pair for share in shares for image in share]
    assert sorted(pairs) == sorted((prompt, seed) for prompt in PROMPTS[:4] for seed in (0, 1))
    assert len(names(tmp_path)) == 8


def test_what_is_there_is_kept(tmp_path: Path, tiny_model: Path) -> None:
    recipe = recipe_of(tmp_path, tiny_model)
    first = run_benchmark(recipe)
    assert first is not None and first.rows[0].images == 4
    times = {path: path.stat().st_mtime_ns for path in (tmp_path / "out/images/tiny").glob("*.jpg")}
    removed = next(iter(times))
    removed.unlink()
    again = run_benchmark(recipe)
    assert again is not None and again.to_json() == first.to_json()
    kept = {path: path.stat().st_mtime_ns for path in times if path != removed}
    assert kept == {path: when for path, when in times.items() if path != removed}
    assert removed.is_file()
    captions = (tmp_path / "out/images/tiny/metadata.jsonl").read_text().splitlines()
    assert [json.loads(line)["text"] for line in captions] == list(PROMPTS[:4])


def test_stages_of_a_row_go_before_those_of_all(tmp_path: Path, tiny_model: Path) -> None:
    """What a row asks of the model; its own settings say how the images are made."""
    rows = [
        {"name": "as all", "model": str(tiny_model)},
        {"name": "direct", "model": str(tiny_model), "stages": []},
        {"name": "own", "model": str(tiny_model), "stages": [64, 96], "stage_options": STRONG},
        {"name": "doubled", "model": str(tiny_model), "draft": 64},
    ]
    recipe = recipe_of(tmp_path, tiny_model, models=rows, stages=[64])
    asked = [requests_of(recipe, entry, read_prompt_set(recipe.prompts)) for entry in recipe.models]
    assert {len(requests) for requests in asked} == {4}
    assert [(r.stages, r.draft) for r, *_ in asked] == [
        ((64,), None),
        ((), None),
        ((64, 96), None),
        (None, 64),
    ]
    assert [r.stage_options for r, *_ in asked] == [None, None, StageOptions(**STRONG), None]


def test_direct_and_staged_are_rows_of_the_same_prompts(tmp_path: Path, tiny_model: Path) -> None:
    rows = [
        {"name": "direct", "model": str(tiny_model), "stages": []},
        {"name": "staged", "model": str(tiny_model), "stages": [64], "stage_options": STRONG},
    ]
    results = run_benchmark(recipe_of(tmp_path, tiny_model, models=rows, limit=2))
    assert results is not None
    [difference] = results.differences
    assert (difference.first, difference.second, difference.pairs) == ("direct", "staged", 2)
    assert {"direct: made directly", "staged: made in stages: 64x64, 128x128"} <= {*results.notes}
    assert all(row.notes == () for row in results.of_kind("ours"))
    assert results.to_json()["recipe"]["models"][1]["stages"] == [64]


def test_a_size_that_the_model_does_not_take(tmp_path: Path, tiny_model: Path) -> None:
    with pytest.raises(UsageError, match="width 65: not a multiple"):
        run_benchmark(recipe_of(tmp_path, tiny_model, width=65))
    with pytest.raises(Diffusion4kError):
        run_benchmark(recipe_of(tmp_path, tmp_path / "no-model"))
