"""`diffusion4k dataset build`, as it is typed."""

import sys
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from diffusion4k.cli.dataset.build import build
from tests.curation.conftest import LENIENT

ROOT = Path(__file__).parents[2]


@pytest.fixture
def app() -> typer.Typer:
    app = typer.Typer()
    app.command()(build)
    return app


def test_the_pocket_recipe_builds(app, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    recipe = str(ROOT / "recipes/pocket-dataset.yaml")
    ran = CliRunner().invoke(app, [recipe, f"output={tmp_path / 'out'}"])
    assert ran.exit_code == 0, ran.output
    assert "9 candidates:" in ran.output and "2 to evaluate on" in ran.output
    assert len(list((tmp_path / "out/eval").glob("*.jpg"))) == 2
    steps = ("source", "header", "measure", "duplicates", "captions", "inspection", "publish")
    assert all(f" {step} " in ran.output for step in steps)
    rows = (tmp_path / "out/dropped.csv").read_text().splitlines()[1:]
    told = f"{len(rows)} candidate{'s' * (len(rows) != 1)} left out"
    assert (told in ran.output and "inspect" in ran.output) == bool(rows)


def test_overrides_change_the_recipe(app, photos: Path, tmp_path: Path) -> None:
    recipe = str(ROOT / "recipes/pocket-dataset.yaml")
    overrides = [f"output={tmp_path / 'out'}", f"sources=[{{path: {photos}}}]"]
    overrides += ["header.min_shorter_side=40", f"thresholds={LENIENT}".replace("None", "null")]
    ran = CliRunner().invoke(app, [recipe, *overrides, "split.count=0"])
    assert ran.exit_code == 0, ran.output
    assert "4 to train on" in ran.output and not (tmp_path / "out/eval").exists()
    assert "without a caption" not in ran.output
    for text in photos.glob("*.jsonl"):
        text.unlink()
    ran = CliRunner().invoke(app, [recipe, *overrides, "split.count=0"])
    assert "4 of 4 pictures without a caption" in ran.output
    assert f"`diffusion4k dataset caption {tmp_path / 'out'}`, then build again" in ran.output


def test_daft_is_not_imported_for_help(app) -> None:
    ran = CliRunner().invoke(app, ["--help"])
    assert ran.exit_code == 0 and "--ray" in ran.output
    code = "import sys, diffusion4k.cli.dataset.build; sys.exit('daft' in sys.modules)"
    import subprocess

    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_no_ray_there_is_one_line(app, photos: Path, tmp_path: Path) -> None:
    import subprocess

    entry = "from tests.curation.process import main; main()"
    from tests.curation.conftest import recipe

    ran = subprocess.run(
        [sys.executable, "-c", entry, recipe(tmp_path / "out", photos).model_dump_json()],
        env={**__import__("os").environ, "RAY": "127.0.0.1:1"},
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert ran.returncode == 1
    assert ran.stderr.splitlines()[-1].startswith("error: --ray 127.0.0.1:1: no Ray cluster")
