"""Training runs in processes of their own, forked from one that has imported all the libraries."""

import multiprocessing
import os
import resource
import socket
import sys
import time
from collections.abc import Callable, Iterable
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from diffusion4k.data.loader import LatentBatches
from diffusion4k.errors import Diffusion4kError
from diffusion4k.support.files import write_text
from diffusion4k.training.autoencoder.recipe import AutoencoderRecipe, load_autoencoder_recipe
from diffusion4k.training.recipe.recipe import Recipe, RunRecipe, load_recipe
from diffusion4k.training.watch.curve import Curve

_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(
    [
        "diffusion4k.training.loop",
        "diffusion4k.training.autoencoder.loop",
        "diffusion4k.families.sd3",
        "torch._inductor.compile_fx",  # which DeepSpeed imports, and is slow
        "torch._dynamo.backends.debugging",
    ]
)


def start(recipe: RunRecipe, *, environment: dict[str, str] | None = None) -> BaseProcess:
    """Run the recipe in a new process; what it prints goes to `<output>.txt`."""
    path = recipe.output.with_suffix(".yaml")
    write_text(path, recipe.as_yaml())  # atomically, as other processes of the run read it
    run = _train_autoencoder if isinstance(recipe, AutoencoderRecipe) else _train
    process = _CONTEXT.Process(target=_run, args=(run, path, environment or {}))
    process.start()
    return process


def start_many(recipe: RunRecipe, processes: int = 2, **environment: str) -> list[BaseProcess]:
    """The same run over several processes that talk by gloo."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    common = {
        "ACCELERATE_USE_CPU": "true",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "WORLD_SIZE": str(processes),
        # The machine's cores are shared, and sums must not depend on how many there are.
        "OMP_NUM_THREADS": "1",
    }
    ranks = [{"RANK": str(rank), "LOCAL_RANK": str(rank)} for rank in range(processes)]
    return [start(recipe, environment=common | environment | rank) for rank in ranks]


def join(processes: list[BaseProcess]) -> list[int | None]:
    """Wait for all, and not for ever for the others of one that has failed; their exit codes."""
    while any(process.is_alive() for process in processes):
        if any(process.exitcode for process in processes):
            for process in processes:
                process.join(20)
                process.kill()
        processes[0].join(0.05)
    return [process.exitcode for process in processes]


def wait_for_rows(process: BaseProcess, output: Path, rows: int) -> None:
    """Until so many steps are in the run's curve, or it has ended."""
    while process.is_alive() and len(Curve.read(output / "loss.csv")) < rows:
        time.sleep(0.005)


def assert_same_end(first: Path, second: Path, files: Iterable[Path | str]) -> None:
    """Tensors in `files` and curves of two runs are the same to the bit."""
    for file in files:
        one, other = load_file(first / file), load_file(second / file)
        assert one.keys() == other.keys()
        assert all(torch.equal(value, other[name]) for name, value in one.items()), file
    for curve in ("loss.csv", "validation.csv"):
        assert (first / curve).read_bytes() == (second / curve).read_bytes()


def said(recipe: RunRecipe) -> str:
    """What the run printed so far."""
    return recipe.output.with_suffix(".txt").read_text()


def used_samples(recipe: Recipe) -> dict[tuple[int, int, int], list[tuple[int, ...]]]:
    """By step, micro-batch and process: the pictures that a run with RECORD=1 took, each time."""
    used: dict[tuple[int, int, int], list[tuple[int, ...]]] = {}
    for file in recipe.output.parent.glob("used-*.txt"):
        for line in file.read_text().splitlines(keepends=True):
            if line.endswith("\n"):
                key, _, indices = line.partition(":")
                step, micro, rank = map(int, key.split(","))
                used.setdefault((step, micro, rank), []).append(tuple(map(int, indices.split())))
    return used


def _record(path: Path) -> None:
    whole = LatentBatches.batch

    def batch(self: LatentBatches, *number: int) -> Any:
        result = whole(self, *number)
        if len(number) == 4:  # Validation asks for batch 0 of its own.
            step, micro, rank, _ = number
            with (path.parent / f"used-{rank}.txt").open("a") as file:
                indices = " ".join(map(str, result["indices"].tolist()))
                file.write(f"{step},{micro},{rank}: {indices}\n")
        return result

    LatentBatches.batch = batch  # type: ignore[method-assign]


def _run(run: Callable[[Path], None], path: Path, environment: dict[str, str]) -> None:
    os.environ.update(environment)
    if limit := environment.get("LARGEST_FILE"):  # as on a full disk, a write fails half-way
        resource.setrlimit(resource.RLIMIT_FSIZE, (int(limit), int(limit)))
    if environment.get("RECORD"):
        _record(path)
    sys.stdout = sys.stderr = path.with_suffix(".txt").open("a", buffering=1)
    try:
        run(path)
    except Diffusion4kError as error:
        print(f"error: {error}")
        sys.exit(error.exit_code)


def _train(path: Path) -> None:
    from diffusion4k.training.loop import train

    train(load_recipe(path))


def _train_autoencoder(path: Path) -> None:
    from diffusion4k.training.autoencoder.loop import train_autoencoder

    train_autoencoder(load_autoencoder_recipe(path))
