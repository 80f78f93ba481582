"""Recipes: what is accepted, and one line that names everything that is not."""

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from diffusion4k.config.part_section import section_of
from diffusion4k.config.problems import known_keys
from diffusion4k.errors import UsageError
from diffusion4k.objectives import FlowMatching, WaveletFlow
from diffusion4k.timesteps import LogitNormal, Mode
from diffusion4k.training.recipe.recipe import Recipe, load_recipe

RECIPES = Path(__file__).parents[3] / "recipes"
LEAST = {"model": "pocket", "data": "pocket", "output": "out", "resolution": 1024, "steps": 10}


def _write(folder: Path, **keys: object) -> Path:
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump({**LEAST, **keys}))
    return path


def _refusal(path: Path, *overrides: str) -> str:
    with pytest.raises(UsageError) as error:
        load_recipe(path, list(overrides))
    return str(error.value)


def test_the_paper_recipe_has_the_paper_numbers() -> None:
    recipe = load_recipe(RECIPES / "sd3-2b-wlf.yaml")
    assert recipe.optimizer.learning_rate == 1e-6
    assert recipe.optimizer.betas == (0.9, 0.999)
    assert recipe.optimizer.weight_decay == 1e-4
    assert (recipe.clip_norm, recipe.steps, recipe.seed) == (1.0, 20_000, 0)
    assert recipe.global_batch_size == 2 * 8
    assert load_recipe(RECIPES / "flux-12b-wlf.yaml").global_batch_size == 8 * 4
    assert (recipe.schedule.name, recipe.schedule.warmup_steps) == ("constant", 0)
    assert recipe.timesteps == section_of(LogitNormal)(mean=0, std=1)
    assert recipe.crop_size == (4096, 4096) and recipe.resolution == 4096
    assert recipe.objective == section_of(WaveletFlow)()
    assert recipe.precision == "bf16" and recipe.gradient_checkpointing


@pytest.mark.parametrize("path", sorted(RECIPES.glob("*-wlf.yaml")), ids=lambda path: path.name)
def test_all_recipes_load(path: Path) -> None:
    assert load_recipe(path).steps > 0


def test_overrides_are_yaml(tmp_path: Path) -> None:
    recipe = load_recipe(
        _write(tmp_path, objective={"name": "wavelet-flow", "wavelet": "db2"}),
        [
            "optimizer.learning_rate=1e-4",
            "crop=[512, 768]",
            "objective={name: flow-matching}",
            "timesteps={distribution: mode, scale: 0.8}",
            "validation.prompts=[a red barn, 'two: cats']",
            "ema=null",
        ],
    )
    assert recipe.optimizer.learning_rate == 1e-4
    assert recipe.crop_size == (512, 768)
    assert recipe.objective == section_of(FlowMatching)()
    assert recipe.timesteps == section_of(Mode)(scale=0.8)
    assert recipe.validation.prompts == ("a red barn", "two: cats")


def test_defaults_follow_other_keys(tmp_path: Path) -> None:
    recipe = load_recipe(_write(tmp_path), ["objective.band_weights=[1, 2, 2, 4]"])
    assert recipe.crop_size == (1024, 1024)
    assert recipe.cache_folder == Path("out/cache")
    assert recipe.objective == section_of(WaveletFlow)(band_weights=(1, 2, 2, 4))


def test_snapshot_reads_back_as_the_same_recipe(tmp_path: Path) -> None:
    recipe = load_recipe(_write(tmp_path), ["crop=512", "ema=0.99", "timesteps.shift=3"])
    snapshot = tmp_path / "snapshot.yaml"
    snapshot.write_text(recipe.as_yaml())
    assert load_recipe(snapshot) == recipe


def test_all_problems_are_told_at_once(tmp_path: Path) -> None:
    path = _write(
        tmp_path,
        resolution=1000,
        steps="many",
        precision="fp16",
        dat="x",
        optimizer={"learning_rate": -1, "betas": [0.9, 2]},
        objective={"name": "wavelet"},
        timesteps={"distribution": "mode", "mean": 3},
        schedule=3,
    )
    told = _refusal(path)
    for problem in (
        "resolution: found 1000, allowed a multiple of 32 (nearest: 992 or 1024)",
        "steps: found 'many', allowed a whole number",
        "precision: found 'fp16', allowed 'auto', 'bf16', 'fp32' or 'fp8'",
        "dat: unknown key (did you mean data?)",
        "optimizer.learning_rate: found -1, allowed a number above 0",
        "optimizer.betas.1: found 2, allowed a number below 1",
        "objective.name: found 'wavelet', allowed 'composed', 'flow-matching', 'lwd', "
        "'snr-huber-wavelet', 'wavelet-flow'",
        "timesteps.mean: unknown key (allowed: timesteps.distribution, timesteps.shift",
        "schedule: found 3, allowed a section",
    ):
        assert problem in told
    assert "\n" not in told and str(path) in told


@pytest.mark.parametrize(
    ("override", "problem"),
    [
        ("learning_rate=1", "learning_rate: unknown key (did you mean optimizer.learning_rate?)"),
        ("crop=2048", "crop: found 2048x2048, allowed at most resolution=1024"),
        ("crop=[512]", "crop: found [512], allowed 2 values"),
        ("crop=[32, 64, 96]", "crop: found [32, 64, 96], allowed 2 values"),
        ("crop=0", "crop: found 0, allowed a number of at least 1"),
        ("objective.band_weights=[0, 0, 0, 0]", "band_weights: found only zeros"),
        ("objective.band_weights=[1, 1, 1, -1]", "objective.band_weights.3: found -1"),
        ("schedule.warmup_steps=10", "warmup_steps: found 10, allowed less than steps=10"),
        ("seed=-1", "seed: found -1"),
        ("seed=true", "seed: found True"),
        ("ema=true", "ema: found True"),
        ("ema=1", "ema: found 1, allowed a number below 1"),
        ("optimizer.learning_rate=.nan", "optimizer.learning_rate: found nan"),
        ("optimizer.learning_rate=.inf", "optimizer.learning_rate: found inf"),
        ("batch_size=0", "batch_size: found 0"),
        ("model=", "model: found None, allowed a text"),
        ("steps", "override 'steps': allowed key=value"),
        ("steps.x=1", "steps is not a section"),
        ("steps=[1", "not valid YAML"),
    ],
)
def test_each_problem_is_named(tmp_path: Path, override: str, problem: str) -> None:
    assert problem in _refusal(_write(tmp_path), override)


@pytest.mark.parametrize(
    ("override", "problem"),
    [
        ("timesteps.shift=-1", "timesteps.shift: found -1, allowed a number above 0, or 'auto'"),
        (
            "gradient_checkpointing=0",
            "gradient_checkpointing: found 0, allowed true or false, or a number of at least 2, or "
            "'selective'",
        ),
        ("cache=5", "cache: found 5, allowed a text, or a path"),
        ("crop=1000", "crop: found 1000, allowed a multiple of 32 (nearest: 992 or 1024)"),
        ("objective.band_weights=[1, 2]", "objective.band_weights: found [1, 2], allowed 4 values"),
        ("lora={targets: []}", "lora.targets: found [], allowed 1 or more values"),
        ("lora={targets: ['']}", "lora.targets.0: found '', allowed a text that is not empty"),
        (
            "timesteps={distribution: mode, scale: x}",
            "timesteps.scale: found 'x', allowed a number",
        ),
        (
            "checkpoint={every: 2, keep_every: 3}",
            "checkpoint.keep_every: found 3, allowed a multiple of every=2",
        ),
    ],
)
def test_one_mistake_is_one_problem(tmp_path: Path, override: str, problem: str) -> None:
    path = _write(tmp_path)
    assert _refusal(path, override) == f"{path}: {problem}"


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "recipe.yaml: is empty, allowed a mapping"),
        (b"- a\n- b\n", "found list, allowed a mapping"),
        (b"a: [1\n", "not valid YAML"),
        (b"model: a\nmodel: b\n", "key 'model' is given twice"),
        (b"\xff\xfe\x00", "not UTF-8"),
        (b"model: !!python/object/apply:os.getcwd []\n", "not valid YAML"),
    ],
)
def test_files_that_are_no_recipe(tmp_path: Path, content: bytes, problem: str) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_bytes(content)
    assert problem in _refusal(path)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    assert "No such file" in _refusal(tmp_path / "absent.yaml")


def test_a_recipe_is_read_without_torch() -> None:
    """What is wrong with it is reported before any library is loaded that takes seconds."""
    code = "import sys, diffusion4k.training.recipe.recipe; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_known_keys_are_those_of_all_choices() -> None:
    keys = set(known_keys(Recipe))
    assert {"objective.band_weights", "timesteps.scale", "timesteps.mean", "optimizer.eps"} <= keys
