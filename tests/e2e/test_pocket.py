"""`make pocket` from top to bottom: its commands as they stand in the Makefile, in their order.

What Debian's packages hold is replaced by the bundled photographs, and steps and counts are the
smallest that run; networks, crops and windows are those of the real run, which takes hours.
"""

import json
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image, ImageOps
from safetensors.torch import load_file
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode

pytestmark = pytest.mark.e2e

ROOT = Path(__file__).parents[2]
BUNDLED = ROOT / "src/diffusion4k/pocket"
COMMAND = [sys.executable, "-c", "from diffusion4k.cli.main import main; main()"]
AWAY = "meta"  # stands in for a GPU
SIDE = 1536  # the largest shorter side that the scripts ask for

# Of the machine: versions, and whether it had a network.
VERSIONS = ("_diffusers_version", "transformers_version", "local_files_only")
MEASURED = ("scaling_factor", "shift_factor")  # of the autoencoder's latents

# What is added to each command, to make it small.
SMALL = {
    "dataset.py": "",
    "train_text_encoders.py": "--steps 2",
    "train_autoencoder.py": "--linear-steps 2 --steps 2",
    "tiles.py": "--count 4",
    "vae train": "steps=2 batch_size=1 schedule.warmup_steps=0 adversarial.start=1 "
    "checkpoint.every=1 validation.every=1 validation.samples=1",
    "train_transformer.py": "--steps 2",
    "export.py": "",
    "train": "resolution=2048 steps=2 batch_size=1 schedule.warmup_steps=0 checkpoint.every=1 "
    "validation.every=1 validation.samples=1",
}


def commands() -> list[list[str]]:
    """The words of every command of the target, made small."""
    listed = ["make", "--dry-run", "--always-make", "--old-file=setup", "pocket"]
    done = subprocess.run(listed, cwd=ROOT, capture_output=True, text=True, check=True)
    found = []
    for line in done.stdout.splitlines():
        program, *words = shlex.split(line)
        assert program in (".venv/bin/python", ".venv/bin/diffusion4k"), line
        if program.endswith("python"):
            name, start = Path(words[0]).name, [sys.executable]
        else:
            name, start = " ".join(words[: 1 + (words[0] == "vae")]), COMMAND
        found.append([*start, *words, *SMALL[name].split()])
    return found


def run(words: list[str], place: Path) -> str:
    environment = os.environ | {"PYTHONPATH": str(place / "src")}
    done = subprocess.run(words, cwd=place, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, f"{shlex.join(words)}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def unpacked(place: Path) -> None:
    """The wallpaper packages as `dataset.py` unpacks them, of the bundled photographs."""
    photographs = []
    for path in sorted((BUNDLED / "photographs").glob("*.jpg")):
        with Image.open(path) as image:
            ImageOps.fit(image, (SIDE, SIDE)).save(place / path.name, quality=90)
        photographs.append(place / path.name)
    captions = (place / "recipes/pocket/captions.jsonl").read_text().splitlines()
    for number, row in enumerate(map(json.loads, captions)):
        path = place / "runs/pocket/packages" / row["package"] / row["file"]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.hardlink_to(photographs[number % len(photographs)])


def weights(folder: Path) -> dict[str, dict[str, torch.Tensor]]:
    """All tensors of a folder, by file."""
    found = sorted(folder.rglob("*.safetensors"))
    return {str(path.relative_to(folder)): load_file(path) for path in found}


def settings(folder: Path) -> dict[str, dict[str, Any]]:
    """All JSON files of a folder by name, but what differs between models of the same make.

    Of a tokenizer's equally frequent pairs either may be learnt first: their number is compared.
    """
    found = {}
    for path in sorted(folder.rglob("*.json")):
        content = json.loads(path.read_text())
        if path.name == "tokenizer.json":
            learnt = {key: len(content["model"].pop(key)) for key in ("vocab", "merges")}
            content["model"] |= learnt
        kept = {key: value for key, value in content.items() if key not in (*VERSIONS, *MEASURED)}
        found[str(path.relative_to(folder))] = kept
    return found


@pytest.mark.slow
def test_make_pocket(tmp_path: Path) -> None:
    for name in ("recipes", "src"):
        shutil.copytree(ROOT / name, tmp_path / name)
    made = tmp_path / "src/diffusion4k/pocket"
    unpacked(tmp_path)
    for words in commands():
        run(words, tmp_path)

    # Another model of the same make, in the place of the bundled one.
    names = {path.relative_to(BUNDLED) for path in BUNDLED.rglob("*") if path.is_file()}
    assert {path.relative_to(made) for path in made.rglob("*") if path.is_file()} == names
    assert settings(made) == settings(BUNDLED)
    bundled, trained = weights(BUNDLED), weights(made)
    for file, tensors in bundled.items():
        found = trained[file]
        assert {k: v.shape for k, v in found.items()} == {k: v.shape for k, v in tensors.items()}
        same = all(torch.equal(found[k], v) for k, v in tensors.items())
        assert same == file.startswith("autoencoders/"), file

    # The base makes a draft and one stage, the fine-tuned transformer a whole picture.
    for model, side, way in (
        ("pocket-base", 1024, "--stages 512,1024"),
        ("pocket", 512, "--direct"),
    ):
        out = tmp_path / f"{model}.png"
        words = ["generate", "a meadow", "--model", model, *way.split(), "--steps", "2"]
        words += ["--width", str(side), "--height", str(side), "--out", str(out)]
        run([*COMMAND, *words], tmp_path)
        with Image.open(out) as image:
            assert image.size == (side, side)
            assert all(low < high for low, high in image.getextrema())

    # What is finished is kept: the same commands end with the same weights.
    for words in commands():
        run(words, tmp_path)
    again = weights(made)
    assert all(torch.equal(v, again[file][k]) for file, t in trained.items() for k, v in t.items())


@pytest.fixture
def scripts(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The scripts of the target, which import each other by name, can be imported."""
    folder = ROOT / "recipes/pocket"
    monkeypatch.syspath_prepend(folder)
    yield
    for path in folder.glob("*.py"):
        sys.modules.pop(path.stem, None)


def moved(module: nn.Module, device: str) -> nn.Module:
    """The module with parameters and buffers of that device, as `to` leaves it; no values."""
    for part in module.modules():
        for name, parameter in part.named_parameters(recurse=False):
            setattr(part, name, nn.Parameter(torch.empty(parameter.shape, device=device)))
        for name, buffer in part.named_buffers(recurse=False):
            setattr(part, name, torch.empty(buffer.shape, dtype=buffer.dtype, device=device))
    return module


def test_all_tensors_of_a_step_are_on_its_device(scripts: None, monkeypatch) -> None:
    """By torch's own rules, with a stand-in for a GPU: all but the CPU's tensors must agree."""
    import train_autoencoder
    import train_transformer
    from diffusers import AutoencoderKL
    from linear_start import LinearCodec

    network = train_transformer.build_transformer()
    codec = LinearCodec(AutoencoderKL(**train_autoencoder.CONFIG))
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: nullcontext())  # not for a stand-in
    with FakeTensorMode():
        mode = train_transformer.MODES[0]
        x, rows = torch.empty(2, 16, mode.height, mode.width), torch.zeros(2, dtype=torch.long)
        embeddings = torch.empty(5, 6, 77, 256, device=AWAY), torch.empty(5, 6, 256, device=AWAY)

        def loss() -> torch.Tensor:
            return train_transformer.batch_loss(
                network, x, rows, rows, embeddings, mode=mode, guided=True, bf16=True
            )

        moved(network, "cpu")
        with pytest.raises(RuntimeError, match="device"):
            loss()
        moved(network, AWAY)
        loss().backward()
        assert {p.grad.device.type for p in network.parameters() if p.grad is not None} == {AWAY}

        moved(codec, AWAY)
        images = torch.empty(2, 3, 64, 64, device=AWAY)
        for stride in (1, 2):
            back = codec.decode(codec.encode(images, stride), stride)
            (back - images).square().mean().backward()
        codec.install()
        latents = train_autoencoder.encode(codec.vae, images, 2)
        assert train_autoencoder.decode(codec.vae, latents, 2).device.type == AWAY
