"""Everything that is wrong with a run, found at once and before anything is written."""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from diffusion4k.accounting.machine import Machine
from diffusion4k.cli.main import main
from diffusion4k.errors import Diffusion4kError, UsageError
from diffusion4k.planning.preflight import look_over
from diffusion4k.training.recipe.recipe import Recipe, load_recipe

Make = Callable[..., Recipe]
SMALL = Machine(
    gpus=1, memory=2**20, ram=None, disk=None, bandwidth=1e9, flops=1e12, utilisation=0.4
)


def _run(monkeypatch: pytest.MonkeyPatch, *words: object) -> int:
    monkeypatch.setattr("sys.argv", ["diffusion4k", "train", *map(str, words)])
    try:
        main()
    except SystemExit as end:
        return int(end.code or 0)
    return 0


def _written(recipe: Recipe, path: Path, **changes: object) -> Path:
    path.write_text(yaml.safe_dump(recipe.model_dump(mode="json") | changes))
    return path


def test_a_good_recipe_has_no_problem(
    recipe: Make,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    wanted = recipe()
    assert look_over(wanted).problems == []
    assert _run(monkeypatch, _written(wanted, tmp_path / "good.yaml"), "--check") == 0
    told = capsys.readouterr().out
    assert told.startswith("no problem found\n") and "memory" in told and "disk" in told
    assert not wanted.output.exists()


def test_all_problems_are_told_at_once(
    recipe: Make,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    path = _written(
        recipe(),
        tmp_path / "bad.yaml",
        steps=3,
        stepps=4,
        ema=2.0,
        data=str(tmp_path / "nowhere"),
        objective={"name": "wavelet-flow", "wavelet": "nonsense"},
        timesteps={"distribution": "mode", "scale": 9},
        lora={"rank": 2, "targets": ["to_nowhere"]},
        log={"trackers": ["wandb"]},
    )
    at_once = (
        "stepps: unknown key (did you mean steps?)",
        "ema: found 2.0",
        "nowhere: no such folder",
        "wandb is not installed",
    )
    later = ("objective: ", "timesteps: ", "'to_nowhere'")
    for options, wrong in ([[], at_once], [["--check"], at_once + later]):
        assert _run(monkeypatch, path, *options) == 2
        told = capsys.readouterr().err
        for problem in wrong:
            assert problem in told, problem
        assert f"{len(wrong)} problems: (1) " in told and "Traceback" not in told
    assert not (tmp_path / "run").exists()


def test_keys_that_must_be_there_hide_nothing(
    recipe: Make,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Wrong or missing, each of them: what else is wrong is told with it."""
    wrong: dict[str, object] = {"steps": -1, "resolution": 100, "model": 3, "output": None}
    others = {"stepps": 4, "data": str(tmp_path / "nowhere"), "log": {"trackers": ["wandb"]}}
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    for key, value in wrong.items():
        path = tmp_path / "bad.yaml"
        content = yaml.safe_load(_written(recipe(), path, **others | {key: value}).read_text())
        if value is None:
            del content[key]
        path.write_text(yaml.safe_dump(content))
        assert _run(monkeypatch, path) == 2
        told = capsys.readouterr().err
        problems = [f"{key}: ", "stepps: unknown key", "nowhere: no such folder"]
        problems += ["wandb is not installed"]
        for problem in problems:
            assert problem in told, (key, problem, told)
        assert f"{len(problems)} problems" in told, told


def test_the_first_process_of_a_machine_tells(
    recipe: Make,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    path = _written(recipe(), tmp_path / "bad.yaml", data=str(tmp_path / "nowhere"))
    for rank, local, tells in (("0", "0", True), ("1", "1", False), ("8", "0", True)):
        monkeypatch.setenv("RANK", rank)
        monkeypatch.setenv("LOCAL_RANK", local)
        monkeypatch.setenv("WORLD_SIZE", "2")
        assert _run(monkeypatch, path) == 2
        assert ("nowhere" in capsys.readouterr().err) == tells


def test_each_is_found_without_the_model(recipe: Make, tmp_path: Path) -> None:
    found = look_over(recipe(model="no/such/model", data=str(tmp_path / "nowhere")))
    assert len(found.problems) == 2
    assert "no such model" in found.problems[0] and "nowhere" in found.problems[1]


def test_a_cache_far_away_is_looked_at(
    recipe: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With photographs given, too: it is what is trained from."""
    monkeypatch.setitem(sys.modules, "s3fs", None)
    monkeypatch.setenv("DIFFUSION4K_CACHE", str(tmp_path / "home"))
    (problem,) = look_over(recipe(cache="s3://bucket/cache")).problems
    assert problem.startswith("s3://bucket/cache: Install s3fs")
    assert "pip install 'diffusion4k[remote]'" in problem
    (problem,) = look_over(recipe(cache="memory://bucket/none")).problems
    assert problem.startswith("memory://bucket/none/index.json: cannot be fetched")


def test_crops_larger_than_a_photograph(recipe: Make) -> None:
    (problem,) = look_over(recipe(resolution=64, crop=[96, 64])).problems
    assert "crop: found 96x64, larger than" in problem and "train with buckets" in problem


def test_memory_and_disk(recipe: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    (problem,) = look_over(recipe(), machine=SMALL).problems
    assert "GiB" in problem or "MiB" in problem
    roomy = Machine(**(vars(SMALL) | {"memory": 2**40}))
    assert look_over(recipe(), machine=roomy).problems == []
    import shutil
    from types import SimpleNamespace

    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=1000))
    for planned in (True, False):  # The disk is looked at though memory surely suffices.
        (problem,) = look_over(recipe(), machine=roomy, planned=planned).problems
        assert "are needed for checkpoints, result" in problem and "make room" in problem


def test_a_disk_that_suffices_for_what_is_to_come(
    recipe: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Checkpoints that are there, and a cache, need no room a second time."""
    import shutil
    from types import SimpleNamespace

    from diffusion4k.accounting.blueprint import Blueprint
    from diffusion4k.planning.disk import training_disk
    from diffusion4k.training.loop import train

    keys = {"cache": str(tmp_path / "own"), "checkpoint": {"every": 1, "keep": 3}}
    train(recipe(**keys, steps=4))
    wanted = recipe(**keys, steps=20)
    weights = sum(p.stat().st_size for p in (wanted.output / "model").rglob("*.safetensors"))
    one = sum(
        p.stat().st_size for p in (wanted.output / "checkpoints/step-000004").glob("*.safetensors")
    )
    free = SimpleNamespace(free=int(1.1 * (one + weights)))
    monkeypatch.setattr(shutil, "disk_usage", lambda _: free)
    assert look_over(wanted, planned=False).problems == []
    (problem,) = look_over(recipe(**keys, output=str(tmp_path / "other")), planned=False).problems
    assert "are needed for checkpoints, result, 0.0 GB are free" in problem
    needs = training_disk(Blueprint(wanted.model), wanted, 12)
    free.free = sum(needs.values()) - needs["cache"] // 2
    empty = recipe(**keys | {"cache": str(tmp_path / "empty")}, output=str(tmp_path / "other"))
    (problem,) = look_over(empty, planned=False).problems
    assert "checkpoints, result, cache" in problem


def test_processes_that_do_not_divide_the_batch(recipe: Make) -> None:
    wanted = recipe(global_batch_size=12, batch_size=2)
    assert [wanted.for_processes(n).gradient_accumulation for n in (1, 2, 3, 6)] == [6, 3, 2, 1]
    with pytest.raises(UsageError, match="start 1 or 2 or 3 or 6 processes"):
        wanted.for_processes(4)
    (problem,) = look_over(wanted, world=4).problems
    assert problem.startswith("global_batch_size: found 12, which 4 processes")


def test_a_dataset_smaller_than_a_step(recipe: Make) -> None:
    (problem,) = look_over(recipe(batch_size=4), world=4).problems
    assert "12 photographs, fewer than the 16 of a step" in problem


def test_a_cache_of_another_model(recipe: Make, tmp_path: Path, tiny_model: Path) -> None:
    from diffusion4k.training.loop import train

    train(recipe(steps=1, cache=str(tmp_path / "own"), output=str(tmp_path / "first")))
    latents = sorted((tmp_path / "own").rglob("*"))
    for data in ({}, {"data": None}):  # The first would fill it anew, and delete what is there.
        for other in ({"model": "pocket"}, {"resolution": 96}):
            wanted = recipe(**data, **other, steps=1, cache=str(tmp_path / "own"))
            (problem,) = look_over(wanted).problems
            assert "of this cache: found" in problem
            with pytest.raises(Diffusion4kError, match="of this cache: found"):
                train(wanted)
    assert sorted((tmp_path / "own").rglob("*")) == latents
    assert look_over(recipe(data=None, cache=str(tmp_path / "own"))).problems == []
    next((tmp_path / "own" / "shards").glob("latents*")).unlink()
    (problem,) = look_over(recipe(data=None, cache=str(tmp_path / "own"))).problems
    assert "is missing: build the cache again" in problem
    train(recipe(steps=1, cache=str(tmp_path / "own"), output=str(tmp_path / "second")))
    assert train(recipe(data=None, steps=1, cache=str(tmp_path / "own"))).is_dir()


RECIPE = Path(__file__).parents[2] / "recipes" / "pocket-wlf.yaml"


def test_photographs_that_are_enlarged_are_told(tmp_path: Path) -> None:
    recipe = load_recipe(RECIPE, [f"output={tmp_path / 'run'}"])
    assert not any("enlarged" in text for text in look_over(recipe).warnings)
    enlarged = recipe.model_copy(update={"enlarge": True})
    (told,) = [text for text in look_over(enlarged).warnings if "enlarged" in text]
    assert told.startswith("9 of 9 photographs below 4096 pixels")
    assert "up to 2.4 times: enlarge=false keeps their size" in told
