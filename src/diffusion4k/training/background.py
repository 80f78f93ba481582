"""Validation images while training continues: a separate process makes them from a copy.

    OUTPUT/validation/step-000500.safetensors    the trained weights as they were, until it is done
    OUTPUT/validation/step-000500/01.png         what comes of them

The process starts from the weights' file and the recipe alone, so that the images are those that
training would make itself. It is polite (`nice`), and ends with the training.
"""

import os
import signal
import subprocess
import sys
from pathlib import Path

import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import Tensor

from diffusion4k.errors import Diffusion4kError
from diffusion4k.families import family_of, resolve
from diffusion4k.support.files import atomic_path
from diffusion4k.training.engine.network import load_network
from diffusion4k.training.preview import Preview
from diffusion4k.training.recipe.build import build_precision
from diffusion4k.training.recipe.recipe import load_recipe

__all__ = ["BackgroundImages", "make_images"]

_PATIENCE = 10  # of `nice`


class BackgroundImages:
    """One step's images at a time: the next ones wait until they are done."""

    def __init__(self, output: Path, count: int, device: str | None) -> None:
        """`count` images a step; `device` of the process that makes them."""
        self._output, self._count, self._device = output, count, device or "cpu"
        self._running: tuple[int, subprocess.Popen[str]] | None = None

    def start(self, step: int, weights: dict[str, Tensor]) -> list[tuple[int, list[Image.Image]]]:
        """Begin those of a step; what `finish` gives of the one before."""
        before = self.finish()
        snapshot = _snapshot(self._output, step)
        with atomic_path(snapshot) as temporary:
            save_file(weights, temporary)
        arguments = [str(self._output), str(step), self._device, str(os.getpid())]
        process = subprocess.Popen(
            [sys.executable, "-m", "diffusion4k.training.background", *arguments],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            # Of the launcher: this is no process of the run.
            env={k: v for k, v in os.environ.items() if k not in ("RANK", "WORLD_SIZE")},
        )
        self._running = step, process
        return before

    def poll(self) -> list[tuple[int, list[Image.Image]]]:
        """Step and images if they have been finished since; never waits."""
        if self._running and self._running[1].poll() is not None:
            return self.finish()
        return []

    def finish(self) -> list[tuple[int, list[Image.Image]]]:
        """Wait for the images under way; their step and they, or nothing if they failed."""
        if self._running is None:
            return []
        (step, process), self._running = self._running, None
        _, output = process.communicate()
        _snapshot(self._output, step).unlink(missing_ok=True)
        if process.returncode:
            reason = (output.strip().splitlines() or [f"exit code {process.returncode}"])[-1]
            print(f"validation images of step {step} failed: {reason}", file=sys.stderr)
            return []
        folder = self._output / "validation" / f"step-{step:06}"
        paths = [folder / f"{number + 1:02}.png" for number in range(self._count)]
        return [(step, [Image.open(path).convert("RGB") for path in paths])]

    def close(self) -> None:
        """End what is under way."""
        if self._running:
            step, process = self._running
            process.kill()
            process.communicate()
            _snapshot(self._output, step).unlink(missing_ok=True)
            self._running = None


def make_images(output: Path, step: int, device: torch.device) -> None:
    """The images of a step by its snapshot and the recipe in `output`."""
    recipe = load_recipe(output / "recipe.yaml")
    model = resolve(recipe.model)
    family = family_of(model, **recipe.model_options)
    transformer = load_network(recipe, family, model, device).to(device).requires_grad_(False)
    parameters = dict(transformer.named_parameters())
    with torch.no_grad():
        for name, value in load_file(_snapshot(output, step)).items():
            parameters[name].copy_(value)
    with build_precision(recipe, device)():
        preview = Preview(recipe, family, model, device)
        preview(transformer, output / "validation" / f"step-{step:06}")


def _snapshot(output: Path, step: int) -> Path:
    return output / "validation" / f"step-{step:06}.safetensors"


def _end_with(parent: int) -> None:
    """Linux ends this process when the training ends, however it does."""
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
    if os.getppid() != parent:
        sys.exit("the training has ended")


if __name__ == "__main__":
    _end_with(int(sys.argv[4]))
    os.nice(_PATIENCE)
    try:
        make_images(Path(sys.argv[1]), int(sys.argv[2]), torch.device(sys.argv[3]))
    except Diffusion4kError as error:
        sys.exit(str(error))
