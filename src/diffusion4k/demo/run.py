"""The demo: bundled photographs -> check -> cache -> fine-tuning -> images -> metrics -> report.

Every stage is the public function behind a verb (`dataset check`, `cache`, `train`, `generate`,
`evaluate`) and takes up what an earlier run has left in the output folder.
"""

import json
import platform
import resource
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from diffusion4k.data.cache import build_cache
from diffusion4k.data.check import check_folder
from diffusion4k.data.folder import photo_folder, read_folder
from diffusion4k.demo.report import write_report
from diffusion4k.errors import Diffusion4kError, UsageError
from diffusion4k.families import family_of, resolve
from diffusion4k.files import write_text
from diffusion4k.metrics import report as metrics_report
from diffusion4k.metrics.evaluate import Evaluation, evaluate, list_images
from diffusion4k.metrics.measure import Settings as MetricSettings
from diffusion4k.sampling import Output, Request, generate
from diffusion4k.training.export import versions
from diffusion4k.training.log import Curve
from diffusion4k.training.loop import train
from diffusion4k.training.recipe import (
    CheckpointRecipe,
    OptimizerRecipe,
    Recipe,
    ScheduleRecipe,
    ValidationRecipe,
)

__all__ = ["Demo", "demo_recipe", "run_demo"]

PROMPTS = (
    "A dandelion seed head in a meadow, backlit by warm evening sun.",
    "A hiking path over a grassy slope below snowy grey mountain peaks.",
)
ASPECT_PROMPT = "A small stream runs over mossy rocks through a forest."
STAGES = 7
_LEAST_SIDE = 384  # the 4:3 picture must hold a patch of 224 pixels


@dataclass(frozen=True)
class Demo:
    """What the demo is asked to do; None takes the model's or the recipe's own value."""

    out: Path = Path("demo")
    model: str = "pocket"
    side: int = 4096
    sampling_steps: int | None = None
    training_steps: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if self.side < _LEAST_SIDE or self.side % 128:
            below = max(self.side // 128 * 128, _LEAST_SIDE)
            raise UsageError(
                f"side {self.side}: not a multiple of 128 (both the square and the 4:3 picture "
                f"need whole tokens); the nearest: {below} or {below + 128}"
            )

    def to_json(self) -> dict[str, Any]:
        """The settings, without the place."""
        return {name: value for name, value in asdict(self).items() if name != "out"}


@dataclass
class Result:
    """What came of it: timings, losses, measurements by name, image files by name."""

    demo: Demo
    seconds: dict[str, float] = field(default_factory=dict)
    checked: list[str] = field(default_factory=list)
    validation: list[tuple[int, float]] = field(default_factory=list)
    losses: list[tuple[int, float]] = field(default_factory=list)
    measured: dict[str, Evaluation] = field(default_factory=dict)
    images: dict[str, list[Output]] = field(default_factory=dict)

    @property
    def peak_gib(self) -> float:
        """Peak resident memory of this process."""
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak * (1 if sys.platform == "darwin" else 1024) / 2**30

    def to_json(self) -> dict[str, Any]:
        """Plain data, every number with what made it."""
        return {
            "demo": self.demo.to_json(),
            "versions": versions(),
            "machine": machine(),
            "seconds": {name: round(value, 1) for name, value in self.seconds.items()},
            "peak_memory_gib": round(self.peak_gib, 2),
            "check": self.checked,
            "validation_loss": {
                "before": self.validation[0][1],
                "after": self.validation[-1][1],
            },
            "images": {
                name: [str(output.path.relative_to(self.demo.out)) for output in outputs]
                for name, outputs in self.images.items()
            },
            "measured": {name: each.to_json() for name, each in self.measured.items()},
        }


def demo_recipe(demo: Demo) -> Recipe:
    """The fine-tuning of the demo: `recipes/pocket-wlf.yaml` with the demo's folders."""
    steps = demo.training_steps or 60
    every = max(1, steps // 3)
    # Small sides are for tests; the real demo trains at a quarter of its side.
    size = max(128, min(1024, demo.side // 4))
    return Recipe(
        model=demo.model,
        data="pocket",
        output=demo.out / "training",
        cache=demo.out / "cache",
        resolution=size,
        optimizer=OptimizerRecipe(learning_rate=2e-5),
        schedule=ScheduleRecipe(name="cosine", warmup_steps=min(5, steps - 1)),
        steps=steps,
        batch_size=2,
        gradient_checkpointing=False,
        checkpoint=CheckpointRecipe(every=every),
        validation=ValidationRecipe(every=every, samples=16),
        seed=demo.seed,
    )


def run_demo(demo: Demo) -> Path:
    """Run all stages; the report's path.

    Raises:
        UsageError, Diffusion4kError: as the stages do.
    """
    _claim(demo)
    result = Result(demo)
    stages = _Stages(result)
    model = resolve(demo.model)
    family = family_of(model)
    recipe = demo_recipe(demo)
    photographs = photo_folder("pocket")

    with stages.stage("check", "checking the bundled photographs"):
        found = check_folder(photographs)
        result.checked = found.lines()
        if found.problems:
            raise Diffusion4kError(f"bundled photographs are damaged: {found.problems[0]}")
        stages.say(result.checked[0])
    with stages.stage("cache", "encoding photographs and captions once"):
        cached = build_cache(
            read_folder(photographs),
            model=model,
            family=family,
            cache=recipe.cache_folder,
            resolution=recipe.resolution,
            flip=recipe.flip,
        )
        stages.say(f"{cached.computed} photographs computed, {cached.reused} reused")
    with stages.stage("before", f"{len(PROMPTS)} images before fine-tuning"):
        result.images["before"] = _generate(demo, demo.model, "before")
    with stages.stage("train", f"wavelet-based latent fine-tuning, {recipe.steps} steps"):
        tuned = train(recipe)
        result.losses = _curve(recipe.output / "loss.csv")
        result.validation = _curve(recipe.output / "validation.csv")
        first, last = result.validation[0][1], result.validation[-1][1]
        stages.say(f"validation loss {first:.5f} -> {last:.5f}")
    with stages.stage("after", f"{len(PROMPTS) + 1} images after fine-tuning"):
        result.images["after"] = _generate(demo, str(tuned), "after")
        result.images["aspect"] = _generate(
            demo, str(tuned), "aspect", prompts=(ASPECT_PROMPT,), height=demo.side * 3 // 4
        )
    with stages.stage("measure", "measuring images and photographs"):
        for name in result.images:
            result.measured[name] = _measure(demo, name, photographs)
    with stages.stage("report", "writing the report"):
        path = write_report(result, demo.out / "report.html")
    write_text(demo.out / "result.json", json.dumps(result.to_json(), indent=1) + "\n")
    return path


def _claim(demo: Demo) -> None:
    """Note what the folder is for, so that images of two different demos never mix in it."""
    note, wanted = demo.out / "demo.json", demo.to_json()
    if note.exists():
        try:
            found = json.loads(note.read_bytes())
        except ValueError:
            found = None
        if found != wanted:
            raise UsageError(f"{note}: a demo with other settings: choose another --out")
    elif demo.out.exists() and any(demo.out.iterdir()):
        raise UsageError(f"{demo.out}: not empty and not of a demo: choose another --out")
    write_text(note, json.dumps(wanted, indent=1) + "\n")


def _curve(path: Path) -> list[tuple[int, float]]:
    return [(int(row["step"]), float(row["loss"])) for row in Curve.read(path)]


def _generate(
    demo: Demo,
    model: str,
    name: str,
    *,
    prompts: tuple[str, ...] = PROMPTS,
    height: int | None = None,
) -> list[Output]:
    requests = [
        Request(
            prompt,
            demo.seed,
            width=demo.side,
            height=height or demo.side,
            steps=demo.sampling_steps,
        )
        for prompt in prompts
    ]
    return generate(requests, model, out=demo.out / name, image_format="jpeg")


def _measure(demo: Demo, name: str, photographs: Path) -> Evaluation:
    folder = demo.out / name
    total = len(list_images(folder)) + len(list_images(photographs))
    settings = MetricSettings(reencode=True)
    with metrics_report.progress(total) as on_image:
        return evaluate(
            folder,
            photographs,
            settings=settings,
            cache=demo.out / "measured",
            on_image=on_image,
        )


def machine() -> dict[str, Any]:
    """The machine that the timings belong to."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.is_file() else []
    names = (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    return {
        "cpu": next(names, platform.processor() or platform.machine()),
        "threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "system": platform.system(),
        "python": platform.python_version(),
    }


class _Stages:
    """Says which stage of how many is running, and keeps the time of each."""

    def __init__(self, result: Result) -> None:
        self.result = result
        self.console = Console(stderr=True)

    @contextmanager
    def stage(self, name: str, title: str) -> Iterator[None]:
        number = len(self.result.seconds) + 1
        self.console.print(f"[bold]{number}/{STAGES}[/bold] {title}", highlight=False)
        start = time.monotonic()
        yield
        self.result.seconds[name] = time.monotonic() - start
        total = sum(self.result.seconds.values())
        self.say(f"{self.result.seconds[name]:.0f} s, {total:.0f} s in all")

    def say(self, text: str) -> None:
        self.console.print(f"    {text}", markup=False, highlight=False, soft_wrap=True)
