"""The demo: bundled photographs -> check -> cache -> fine-tuning -> images -> metrics -> report.

Every stage is the public function behind a verb (`dataset verify`, `cache`, `train`, `generate`,
`evaluate`) and takes up what an earlier run has left in the output folder.
"""

import json
from pathlib import Path

from diffusion4k.curation.verify.verify import verify_dataset
from diffusion4k.data.cache import build_cache
from diffusion4k.data.folder import photo_folder, read_folder
from diffusion4k.data.picture_files import list_images
from diffusion4k.demo.claim import claim
from diffusion4k.demo.report import write_report
from diffusion4k.demo.result import Curve, DemoResult
from diffusion4k.demo.settings import (
    ASPECT_PROMPT,
    DIRECT_STEPS,
    PROMPTS,
    Demo,
    demo_recipe,
    further_measures,
    metric_settings,
)
from diffusion4k.demo.stages import Stages
from diffusion4k.errors import Diffusion4kError
from diffusion4k.families import family_of, resolve
from diffusion4k.metrics.evaluate import Evaluation, evaluate
from diffusion4k.sampling import Output, Request, Sampler, generate
from diffusion4k.support.files import write_text
from diffusion4k.support.progress import Counter
from diffusion4k.support.wording import counted
from diffusion4k.training.loop import train
from diffusion4k.training.watch.curve import Curve as CurveFile

__all__ = ["Demo", "run_demo"]

STAGES = 8


def run_demo(demo: Demo) -> tuple[Path, DemoResult]:
    """Run all stages; the report's path and what is in it.

    Raises:
        UsageError, Diffusion4kError: as the stages do.
    """
    model = resolve(demo.model)
    family = family_of(model)
    claim(demo, model, family)
    recipe = demo_recipe(demo)
    dtype = "bfloat16" if demo.in_bfloat16 else "auto"
    result = DemoResult(demo, recipe)
    stages = Stages(demo.out / "timings.json", STAGES)
    photographs = photo_folder("pocket")

    with stages.stage("check", "checking the bundled photographs"):
        found = verify_dataset(photographs)
        result.checked = [line.replace(str(photographs), "pocket") for line in found.lines()]
        if found.problems:
            raise Diffusion4kError(f"bundled photographs are damaged: {found.problems[0]}")
        stages.say(result.checked[0])
    with stages.stage("cache", "encoding photographs and captions once"):
        cached = build_cache(
            read_folder(photographs),
            model=model,
            family=family,
            cache=Path(recipe.cache_folder),
            flip=recipe.flip,
            **recipe.stored,
        )
        stages.say(f"{counted(cached.computed, 'photograph')} computed, {cached.reused} reused")
    with stages.stage("before", f"{len(PROMPTS)} images before fine-tuning"):
        result.images["before"] = _generate(
            demo, Sampler(demo.model, dtype=dtype), "before", PROMPTS
        )
    with stages.stage("train", f"wavelet-based latent fine-tuning, {recipe.steps} steps"):
        tuned = train(recipe)
        result.losses = _curve(recipe.output / "loss.csv")
        result.validation = _curve(recipe.output / "validation.csv")
        first, last = result.validation[0][1], result.validation[-1][1]
        stages.say(f"validation loss {first:.5f} -> {last:.5f}")
    with stages.stage("after", f"{len(PROMPTS) + 1} images after fine-tuning"):
        sampler = Sampler(tuned, dtype=dtype)
        result.images["after"] = _generate(demo, sampler, "after", PROMPTS)
        result.images["aspect"] = _generate(
            demo, sampler, "aspect", (ASPECT_PROMPT,), height=demo.side * 3 // 4
        )
    with stages.stage("direct", "the first image once more, without stages"):
        result.images["direct"] = _generate(
            demo, _whole(tuned, demo.side, dtype), "direct", PROMPTS[:1], direct=True
        )
    with stages.stage("measure", "measuring images and photographs"):
        for name, outputs in result.images.items():
            result.measured[name] = _measure(demo, name, outputs, photographs)
    with stages.stage("report", "writing the report"):
        facts = result.to_json()
        costs = {"runs": stages.runs, "seconds": dict(stages.seconds)}
        facts |= costs | {"peak_memory_gib": stages.peak_gib}
        path = write_report(result, facts, demo.out / "report.html")
        write_text(demo.out / "result.json", json.dumps(facts, indent=1, allow_nan=False) + "\n")
    return path, result


def _curve(path: Path) -> Curve:
    return [(int(row["step"]), float(row["loss"])) for row in CurveFile.read(path)]


def _generate(
    demo: Demo,
    sampler: Sampler,
    name: str,
    prompts: tuple[str, ...],
    *,
    height: int | None = None,
    direct: bool = False,
) -> list[Output]:
    requests = [
        Request(
            prompt,
            demo.seed,
            width=demo.side,
            height=height or demo.side,
            steps=demo.sampling_steps or (DIRECT_STEPS if direct else None),
            stages=() if direct else None,
        )
        for prompt in prompts
    ]
    return generate(requests, sampler, out=demo.out / name, image_format="jpeg")


def _whole(model: Path, side: int, dtype: str) -> Sampler:
    """A sampler that sees the whole image at once, its table of positions continued if need be."""
    family = family_of(model)
    if family.max_side(model) >= side:
        return Sampler(model, dtype=dtype)
    high_resolution = {"positions": "extend", "side": side}
    return Sampler(model, dtype=dtype, high_resolution=high_resolution)


def _measure(demo: Demo, name: str, outputs: list[Output], photographs: Path) -> Evaluation:
    folder = demo.out / name
    images = list_images(folder)
    if strangers := sorted(set(images) - {output.path for output in outputs}):
        raise Diffusion4kError(
            f"{strangers[0]}: not made by this demo, but would be measured with it: move it away"
        )
    total = len(images) + len(list_images(photographs))
    with Counter("measuring", total, unit="images") as counter:
        evaluation = evaluate(
            folder,
            photographs,
            settings=metric_settings(demo),
            further=further_measures(),
            cache=demo.out / "measured",
            on_image=counter.advance,
        )
    if evaluation.bad:
        raise Diffusion4kError(f"{evaluation.bad[0]}: remove it and run the same command again")
    return evaluation
