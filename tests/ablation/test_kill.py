"""Killed at any moment, again and again, a study ends as one that was left in peace."""

import json
import random
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from diffusion4k.ablation.run import run_study
from tests.ablation.conftest import tiny_study

_MAIN = "from diffusion4k.cli.main import main; main()"


@pytest.mark.slow
def test_kills_change_nothing(tiny_model: Path, pictures: Path, tmp_path: Path) -> None:
    peaceful = tiny_study(tiny_model, pictures, tmp_path / "peaceful")
    results = run_study(peaceful)
    assert results
    path = tmp_path / "study.yaml"
    path.write_text(yaml.safe_dump(peaceful.model_dump(mode="json")))
    command = [sys.executable, "-c", _MAIN, "ablate", str(path), f"output={tmp_path / 'killed'}"]
    chance, kills = random.Random(0), 0
    while True:
        patience = 4 + 3 * chance.random() if kills < 5 else None
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=patience)
        except subprocess.TimeoutExpired:  # run() has killed it by SIGKILL.
            kills += 1
            continue
        break
    assert done.returncode == 0, done.stderr
    assert kills  # on a machine so fast that it had no time, give it less
    saved = [
        json.loads((tmp_path / name / "results.json").read_text())
        for name in ("peaceful", "killed")
    ]
    assert saved[0]["entries"] == saved[1]["entries"]
    for arm in ("plain", "velocity"):
        curves = [
            (tmp_path / name / f"runs/{arm}/seed-1/training/loss.csv").read_bytes()
            for name in ("peaceful", "killed")
        ]
        assert curves[0] == curves[1]
