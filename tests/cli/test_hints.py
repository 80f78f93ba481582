"""What a newcomer mistypes, and the line that says what was meant."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from diffusion4k.benchmark.prompts import read_prompt_set
from diffusion4k.cli.main import app
from diffusion4k.data.folder import read_folder
from diffusion4k.data.picture_files import image_files, list_images
from diffusion4k.errors import UsageError
from diffusion4k.models.folder import resolve
from diffusion4k.support.wording import natural_key
from tests.data.fake import save_picture

RECIPES = Path(__file__).parents[2] / "recipes"


def refused(*words: object) -> str:
    result = CliRunner().invoke(app, [*map(str, words)])
    assert isinstance(result.exception, UsageError), result.output or result.exception
    return str(result.exception)


@pytest.mark.parametrize(
    ("verb", "recipe", "meant"),
    [
        ("train", "pocket-vae-sc", "vae train"),
        ("train", "pocket-benchmark", "benchmark"),
        ("vae train", "pocket-wlf", "train"),
        ("benchmark", "pocket-ablation", "ablate"),
        ("ablate", "pocket-lora", "train"),
        ("dataset build", "pocket-study", "study check"),
        ("train", "pocket-dataset", "dataset build"),
    ],
)
def test_a_recipe_of_another_command(verb: str, recipe: str, meant: str) -> None:
    path = RECIPES / f"{recipe}.yaml"
    told = refused(*verb.split(), path)
    assert told == f"{path}: is for another command: diffusion4k {meant} {path}"


def test_a_mistake_in_the_right_recipe_is_still_that_mistake() -> None:
    told = refused("train", RECIPES / "pocket-wlf.yaml", "models=3", "stepps=1")
    assert "models: unknown key" in told and "another command" not in told


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("lr=1e-4", "optimizer.learning_rate"),
        ("warmup=3", "schedule.warmup_steps"),
        ("max_train_steps=3", "steps"),
        ("wd=0.1", "optimizer.weight_decay"),
        ("rank=8", "lora.rank"),
        ("stepps=8", "steps"),
    ],
)
def test_keys_as_other_programs_have_them(given: str, meant: str) -> None:
    told = refused("train", RECIPES / "pocket-wlf.yaml", given)
    assert f"{given.partition('=')[0]}: unknown key (did you mean {meant}?)" in told


def test_fewer_steps_than_warm_up_says_both_ways_out() -> None:
    told = refused("train", RECIPES / "pocket-wlf.yaml", "steps=20")
    assert told.endswith(
        "schedule.warmup_steps: found 20, allowed less than steps=20: use more steps, or fewer of "
        "warm-up (schedule.warmup_steps=0)"
    )


def test_the_folder_of_a_run_is_not_the_model(tmp_path: Path) -> None:
    (tmp_path / "run/model").mkdir(parents=True)
    (tmp_path / "run/model/model_index.json").write_text(json.dumps({"_class_name": "Any"}))
    with pytest.raises(UsageError, match=r"no model_index\.json in it; .*run/model is one: a mod"):
        resolve(tmp_path / "run")
    with pytest.raises(UsageError, match=r"no model_index\.json in it: a model is"):
        resolve(tmp_path)


def test_a_name_that_only_plan_knows_leads_to_the_hub() -> None:
    name = "stabilityai/stable-diffusion-3-medium-diffusers"
    with pytest.raises(UsageError, match=f"no such model: give {name}, its name on the hub"):
        resolve("stable-diffusion-3-medium-diffusers")


def test_guidance_of_a_model_without_any_is_warned_of(monkeypatch, tmp_path: Path) -> None:
    from diffusion4k import sampling

    monkeypatch.setattr(sampling, "generate", lambda *_, **__: [])

    def told(*words: str) -> str:
        words = ("generate", "a lake", "--width", "256", "--height", "256", *words)
        return CliRunner().invoke(app, [*words, "--out", str(tmp_path)]).stderr

    assert "warning: guidance 5: pocket was made for 1 (off)" in told("--guidance", "5")
    assert "guidance" not in told() and "guidance" not in told("--guidance", "1")


def test_names_stand_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    wanted = ["0.png", "1.png", "2.png", "10.png", "11.png", "a1b2.png", "a1b10.png", "b.png"]
    for name in reversed(wanted):
        save_picture(tmp_path / name, (64, 64))
    assert [path.name for path in image_files(tmp_path)] == wanted
    assert [path.name for path in list_images(tmp_path)] == wanted
    assert sorted(["b", "1", "01", "", "²", "1.5"], key=natural_key) == [
        *("", "01", "1", "1.5", "b", "²")
    ]


def test_a_figure_says_how_much_it_leaves_out(tmp_path: Path) -> None:
    for number in range(3):
        save_picture(tmp_path / f"{number}.png", (64, 64))
    words = ["figure", "gallery", str(tmp_path), "--width", "400", "--out", str(tmp_path / "a.jpg")]
    assert (
        "2 of 3 images; --most shows more"
        in CliRunner().invoke(app, [*words, "--most", "2"]).stderr
    )
    (tmp_path / "a.jpg").unlink()
    assert "images" not in CliRunner().invoke(app, words).stderr


def test_the_papers_dataset_is_named_where_its_folder_is_missing() -> None:
    for name in ("data/aesthetic-eval-4096", "somewhere/Aesthetic_4K"):
        with pytest.raises(UsageError, match="zhang0jhon/Aesthetic-4K on the Hugging Face hub"):
            read_prompt_set(name)
        with pytest.raises(UsageError, match=r"docs/paper\.md says how to lay it out"):
            read_folder(name)
    with pytest.raises(UsageError) as refused:
        read_folder("data/mine")
    assert "hub" not in str(refused.value)
