"""The way to pyiqa and hpsv3, by stand-ins of their interface, and what is said without them."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from diffusion4k.errors import Diffusion4kError, UsageError
from diffusion4k.metrics.hpsv3 import HpsV3, HpsV3Measure
from diffusion4k.metrics.iqa import IqaMeasure, IqaScore
from diffusion4k.metrics.picture import MeasuredImage
from tests.metrics.stand_ins import install_hpsv3, install_pyiqa
from tests.metrics.tiny_networks import photo_like


def test_score_of_pyiqa(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    install_pyiqa(monkeypatch)
    photo_like(1).save(tmp_path / "a.png")
    measure = IqaMeasure(IqaScore("niqe"))
    means = np.asarray(photo_like(1), float).mean((0, 1)) / 255
    expected = means @ [0.5, 0.3, 0.2]
    found = measure(MeasuredImage(tmp_path / "a.png")).numbers
    assert found == {"niqe": pytest.approx(expected, rel=1e-5)}
    (column,) = measure.columns
    assert (column.name, column.heading, column.better) == ("niqe", "NIQE", "lower")
    assert IqaMeasure(IqaScore("musiq")).columns[0].better == "higher"
    assert "0.0.stand-in" in measure.protocol and measure.name in measure.protocol


def test_failures_of_pyiqa(monkeypatch: pytest.MonkeyPatch) -> None:
    made = install_pyiqa(monkeypatch)
    score = IqaScore("maniqa")
    made[0].failure = RuntimeError("not enough memory:\nyou tried to allocate")
    with pytest.raises(Diffusion4kError, match=r"^maniqa of pyiqa failed: not enough memory: you"):
        score(photo_like(1))
    made[0].failure = None
    with torch.no_grad():
        made[0].weight[0] = float("nan")
    with pytest.raises(Diffusion4kError, match="maniqa of pyiqa gives nan"):
        score(photo_like(1))
    with pytest.raises(Diffusion4kError, match="cannot make 'magic' here"):
        IqaScore("magic")


def test_reward_of_hpsv3(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    install_hpsv3(monkeypatch)
    (tmp_path / "HPSv3.safetensors").write_bytes(b"weights")
    photo_like(1).save(tmp_path / "a.png")
    scorer = HpsV3(tmp_path / "HPSv3.safetensors")
    measure = HpsV3Measure(scorer)
    expected = np.asarray(photo_like(1)).mean() + len("a lake")
    found = measure(MeasuredImage(tmp_path / "a.png", "a lake")).numbers
    assert found == {"hpsv3": pytest.approx(expected, rel=1e-5)}
    with pytest.raises(Diffusion4kError, match="has no prompt"):
        measure(MeasuredImage(tmp_path / "a.png"))
    with pytest.raises(Diffusion4kError, match="HPSv3 failed: CUDA out of memory"):
        scorer(photo_like(1), "too much")
    (tmp_path / "broken.pth").write_bytes(b"weights")
    with pytest.raises(Diffusion4kError, match=r"broken\.pth: HPSv3 does not load: Error\(s\) in"):
        HpsV3(tmp_path / "broken.pth")
    with pytest.raises(UsageError, match="no such file"):
        HpsV3(tmp_path / "nowhere.pth")


def test_packages_that_are_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("pyiqa", "hpsv3"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(Diffusion4kError, match="pip install pyiqa"):
        IqaScore("niqe")
    with pytest.raises(Diffusion4kError, match="pip install --no-deps hpsv3"):
        HpsV3("weights.pth")
