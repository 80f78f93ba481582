"""How long what is left of a study takes, from each kind of work timed once on this machine."""

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from diffusion4k.ablation.arms import Run
from diffusion4k.ablation.setup import StudySetup
from diffusion4k.ablation.velocity_error import network_of, velocity_errors
from diffusion4k.families import family_of, resolve
from diffusion4k.metrics.picture import MeasuredImage
from diffusion4k.planning.report import duration
from diffusion4k.sampling.request import Request
from diffusion4k.sampling.sampler import Sampler
from diffusion4k.support.cores import cores
from diffusion4k.support.wording import counted
from diffusion4k.training.engine.network import load_network
from diffusion4k.training.engine.optimizers import make_optimizer
from diffusion4k.training.method import build_method
from diffusion4k.training.pictures import training_batches

__all__ = ["estimate"]

_TIMES = 3


def estimate(setup: StudySetup, runs: Sequence[Run], left: Sequence[tuple[Run, int]]) -> str:
    """One line: runs, what is left, and the time for it on this machine alone.

    `left`: the snapshots that are missing, each with the training steps before it.
    """
    study, recipe = setup.study, runs[0].recipe
    step = _seconds(_stepper(setup, runs[0]))
    images = len(setup.prompts.prompts) * len(study.sample_seeds)
    image, loading = _image_seconds(setup)
    network = network_of(recipe, setup.device, trained=False)
    one = study.model_copy(
        update={"velocity": study.velocity.model_copy(update={"pictures": 1, "levels": 2})}
    )
    question = _seconds(
        lambda: velocity_errors(one, recipe, setup.velocity_cache, network, setup.device)
    )
    pictures = min(study.velocity.pictures, len(setup.velocity_cache))
    # The model is loaded for training, for images and for the questions.
    snapshot = 3 * loading + images * image + pictures * study.velocity.levels * question / 2
    steps = sum(count for _, count in left)
    total = steps * step + len(left) * snapshot
    todo = len({run.folder for run, _ in left})
    return (
        f"{counted(len(runs), 'run')} of {counted(study.steps[-1], 'step')}, {todo} to do: "
        f"about {duration(total)} on this machine alone: "
        f"{counted(steps, 'step')} of {duration(step)}, {counted(len(left), 'snapshot')} of "
        f"{duration(snapshot)} ({counted(images, 'image')} of {duration(image)} each)"
    )


def _seconds(function: Callable[[], object]) -> float:
    """The least of several times, after one that does not count."""
    function()
    times = []
    for _ in range(_TIMES):
        start = time.monotonic()
        function()
        times.append(time.monotonic() - start)
    return min(times)


def _stepper(setup: StudySetup, run: Run) -> Callable[[], None]:
    """A whole training step, on the study's own pictures."""
    recipe, device = run.recipe.for_processes(1), setup.device
    model = resolve(recipe.model)
    family = family_of(model, **recipe.model_options)
    network = load_network(recipe, family, model, device).to(device)
    optimizer = make_optimizer(recipe.optimizer, network)
    method = build_method(recipe, family, model, device)
    batches = training_batches(recipe, setup.cache)

    def step() -> None:
        for micro in range(recipe.gradient_accumulation):
            question = method.drawn(recipe.seed, batches.batch(0, micro))
            method.losses(network, question).mean().backward()
        optimizer.step()
        optimizer.zero_grad()
        if device.type == "cuda":
            torch.cuda.synchronize(device)

    return step


def _image_seconds(setup: StudySetup) -> tuple[float, float]:
    """Seconds for an image with all its steps and measures, and for loading the model.

    The steps come from the difference of an image of two and one of one.
    """
    study, start = setup.study, time.monotonic()
    sampler = Sampler(setup.recipe.model, device=setup.device)
    prompt = setup.prompts.prompts[0]
    request = Request.of(study.sampling(None), prompt)
    settings = sampler.settle(request)
    sampler.encode_for([settings])
    sampler.load()
    loading = time.monotonic() - start
    image = sampler.sample(replace(settings, steps=1))
    one, two = (
        _seconds(partial(sampler.sample, replace(settings, steps=steps))) for steps in (1, 2)
    )
    seconds = one + (settings.steps - 1) * max(two - one, 0)
    with TemporaryDirectory() as folder:
        path = Path(folder) / "image.png"
        image.save(path)
        measured = [
            _seconds(partial(measure, MeasuredImage(path, prompt))) for measure in setup.measures
        ]
    return seconds + sum(measured) / cores(), loading
