"""Benchmarks in processes of their own: two at once, and one that is killed."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from PIL import Image

from diffusion4k.benchmark.recipe import BenchmarkRecipe
from diffusion4k.benchmark.run import run_benchmark
from tests.benchmark.test_entries import names, recipe_of


def launched(place: Path, recipe: BenchmarkRecipe, *launcher: str) -> subprocess.Popen[str]:
    path = place / "recipe.yaml"
    path.write_text(json.dumps(recipe.model_dump(mode="json", exclude_none=True)))
    programs = Path(sys.executable).parent
    words = [str(programs / launcher[0]), *launcher[1:]] if launcher else []
    command = [*words, str(programs / "diffusion4k"), "benchmark", str(path)]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true"}
    return subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


@pytest.mark.parametrize(
    "launcher",
    [
        ("torchrun", "--nproc-per-node", "2", "--standalone", "--no-python"),
        pytest.param(
            (
                *("accelerate", "launch", "--cpu", "--num_processes", "2", "--num_machines", "1"),
                *("--mixed_precision", "no", "--dynamo_backend", "no", "--no_python"),
            ),
            marks=pytest.mark.slow,
        ),
    ],
    ids=["torchrun", "accelerate"],
)
def test_two_processes(tmp_path: Path, tiny_model: Path, launcher: tuple[str, ...]) -> None:
    """Each makes its share; the images and results are those of one process."""
    alone, together = tmp_path / "alone", tmp_path / "together"
    alone.mkdir(), together.mkdir()
    one = run_benchmark(recipe_of(alone, tiny_model))
    with launched(together, recipe_of(together, tiny_model), *launcher) as process:
        out, err = process.communicate(timeout=180)
    assert process.returncode == 0, err[-3000:]
    assert out.count("Beside published figures") == 1  # One process speaks.
    assert names(together) == names(alone)
    for name in names(alone):
        place = Path("out/images/tiny") / name
        assert (together / place).read_bytes() == (alone / place).read_bytes()
    found = json.loads((together / "out/results.json").read_text())
    assert one is not None
    assert found["rows"][0]["cells"] == json.loads(json.dumps(one.to_json()["rows"][0]["cells"]))


def test_kill_9_in_the_middle(tmp_path: Path, tiny_model: Path) -> None:
    recipe = recipe_of(tmp_path, tiny_model, seeds=[0, 1, 2], steps=4, width=256, height=256)
    with launched(tmp_path, recipe) as process:
        end = time.monotonic() + 120
        while len(names(tmp_path)) < 2 and process.poll() is None:
            assert time.monotonic() < end
            time.sleep(0.01)
        os.kill(process.pid, signal.SIGKILL)
        process.communicate()
    made = names(tmp_path)
    assert 2 <= len(made) <= 12 and not (tmp_path / "out/results.json").exists()
    for name in made:
        Image.open(tmp_path / "out/images/tiny" / name).load()
    results = run_benchmark(recipe)
    assert results is not None and results.rows[0].images == 12
    assert set(made) <= set(names(tmp_path)) and len(names(tmp_path)) == 12
