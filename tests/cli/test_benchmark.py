"""`diffusion4k benchmark` as a user meets it."""

import json
from pathlib import Path

import pytest
import typer
from click.testing import Result
from typer.testing import CliRunner

from diffusion4k.cli.benchmark import register
from diffusion4k.errors import Diffusion4kError, UsageError
from tests.benchmark.pictures import fill


def run(*arguments: str | Path) -> Result:
    app = typer.Typer()
    app.callback()(lambda: None)
    register(app)
    return CliRunner().invoke(app, ["benchmark", *map(str, arguments)])


def test_options_in_place_of_a_recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("a/images", "b/images"):
        fill(tmp_path / name, 3)
    done = run("--images", "a/images", "--images", "b/images", "--out", "out")
    assert done.exit_code == 0, done.output
    assert "Measured, with 95% intervals" in done.stdout and "SD3-F16" in done.stdout
    results = json.loads((tmp_path / "out/results.json").read_text())
    assert [row["name"] for row in results["rows"][:2]] == ["images", "images 2"]
    assert done.stdout.splitlines()[-1] == "out/report.html"


def test_a_recipe_with_other_values(tmp_path: Path) -> None:
    folder, recipe = fill(tmp_path / "images", 2), tmp_path / "recipe.yaml"
    recipe.write_text(f"models:\n- {{name: a, images: {folder}}}\noutput: {tmp_path / 'x'}\n")
    done = run(recipe, f"output={tmp_path / 'y'}", "resamples=50")
    assert done.exit_code == 0, done.output
    assert (tmp_path / "y/results.tex").is_file() and not (tmp_path / "x").exists()


def test_broken_images_fail_unless_skipped(tmp_path: Path) -> None:
    folder = fill(tmp_path / "images", 2)
    (folder / "bad.jpg").write_bytes(b"\xff\xd8\xff")
    done = run("--images", folder, "--out", tmp_path / "out")
    assert isinstance(done.exception, Diffusion4kError) and done.exception.exit_code == 1
    assert f"1 image could not be measured: {folder / 'bad.jpg'}: " in str(done.exception)
    assert json.loads((tmp_path / "out/results.json").read_text())["rows"][0]["images"] == 2
    skipped = run("--images", folder, "--out", tmp_path / "out", "--skip-bad")
    assert skipped.exit_code == 0 and "skipped 1 image " in skipped.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "give a recipe, or at least one --model or --images"),
        (["none.yaml"], "none.yaml: cannot be read"),
        (["r.yaml", "--model", "pocket"], "with a recipe, give other values as KEY=VALUE"),
        (["r.yaml", "limits=3"], "did you mean limit?"),
        (["--images", "missing"], "missing: no such folder"),
        (["--model", "pocket", "--prompts", "none.txt"], "none.txt: no such file"),
        (["--model", "pocket", "--width", "0"], "width: found 0"),
    ],
)
def test_usage_errors(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("r.yaml").write_text("models:\n- {name: a, images: b}\n")
    done = run(*arguments)
    assert isinstance(done.exception, UsageError), done.output
    assert message in str(done.exception)
    assert not Path("runs").exists()
