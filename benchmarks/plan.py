"""`diffusion4k plan` beside what really happens: peak memory and floating-point operations.

    python benchmarks/plan.py                     # every case, each in fresh processes
    python benchmarks/plan.py --kind training     # or `sampling`

A case is a whole `train` or `generate` call on the CPU, small models of the real classes, from
loading the weights on. Measured are

- allocated: the most that was held at once of all that torch's CPU allocator gave, by torch's
  profiler; this is what the plan predicts. Files that are mapped and not read into memory count
  with torch, too: those of the cache are taken out;
- resident: the operating system's peak for the process minus what it held before, after a small
  run for warming up; with it come files mapped into memory, Python, and what kernels take inside.
  The C library is told to give back what is freed (MALLOC_MMAP_THRESHOLD_): by itself it keeps
  holes, with which this figure was up to a third higher;
- FLOPs: torch's `FlopCounterMode`, which knows the formula of attention on GPUs and is told here
  that the CPU's has the same.
"""

import argparse
import ctypes
import gc
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from common import save

TRAINING: list[dict[str, Any]] = [
    *({"model": "pocket", "crop": side} for side in (256, 512, 768, 1024, 1536)),
    {"model": "pocket", "crop": 1024, "gradient_checkpointing": True},
    {"model": "pocket", "crop": 1024, "gradient_checkpointing": "selective"},
    {"model": "pocket", "crop": 1024, "gradient_checkpointing": 2},
    {"model": "pocket", "crop": 512, "optimizer": {"name": "muon"}},
    {"model": "pocket", "crop": 512, "optimizer": {"name": "adafactor", "learning_rate": 1e-3}},
    {"model": "pocket", "crop": 512, "precision": "bf16"},
    {"model": "pocket", "crop": 512, "precision": "bf16", "gradient_checkpointing": True},
    {"model": "pocket", "crop": 512, "ema": 0.9, "gradient_accumulation": 2},
    {"model": "pocket", "crop": 1024, "lora": {"rank": 16}},
    *({"model": "tiny", "crop": side} for side in (512, 768, 1024, 1536, 2048)),
]
SAMPLING: list[dict[str, Any]] = [
    *({"model": "pocket", "width": side} for side in (512, 1024, 1536, 2048, 3072, 4096)),
    {"model": "pocket", "width": 2048, "guidance": 3.0},
    {"model": "pocket", "width": 2048, "dtype": "bfloat16"},
    {"model": "pocket", "width": 4096, "max_memory": "256MiB"},
    *({"model": "tiny", "width": side} for side in (512, 768, 1024, 1536, 2048)),
]
STEPS = 2


def training_job(case: dict[str, Any], folder: Path) -> tuple[Any, Callable[..., Any]]:
    """The plan of a case, and the run."""
    from diffusion4k.accounting.blueprint import Blueprint
    from diffusion4k.accounting.machine import present_machine
    from diffusion4k.planning.training import plan_training
    from diffusion4k.training.loop import train
    from diffusion4k.training.recipe.recipe import Recipe

    def recipe(**changes: Any) -> Recipe:
        content = {
            "model": model(case["model"], folder),
            "data": "pocket",
            "cache": folder / "cache",
            "resolution": case["crop"],
            "steps": STEPS,
            "batch_size": 2,
            "gradient_checkpointing": False,
            "validation": {"every": None},
            **{key: value for key, value in case.items() if key != "model"},
            **changes,
        }
        return Recipe.model_validate(
            {"output": folder / f"run{len(list(folder.iterdir()))}"} | content
        )

    def run(steps: int = STEPS, **changes: Any) -> None:
        train(recipe(steps=steps, **changes))

    def predicted() -> tuple[int, int]:
        blueprint = Blueprint(recipe().model)
        plan = plan_training(blueprint, recipe(), present_machine())
        return max(stage.peak for stage in plan.stages[2:]), STEPS * plan.step_flops

    # The cache is filled, and libraries are loaded, before anything is measured.
    run(steps=1, crop=64, batch_size=1)
    return predicted, run


def sampling_job(case: dict[str, Any], folder: Path) -> tuple[Any, Callable[..., Any]]:
    """The plan of a case, and the run."""
    from diffusion4k.accounting.blueprint import Blueprint
    from diffusion4k.accounting.machine import present_machine
    from diffusion4k.planning.generation import GenerationSetup, plan_generation
    from diffusion4k.sampling import Request, Sampler
    from diffusion4k.sampling.options import SamplingOptions

    name = model(case["model"], folder)
    options = {key: case[key] for key in ("dtype", "max_memory") if key in case}
    request = {"width": case["width"], "height": case["width"], "steps": STEPS}
    request["guidance"] = case.get("guidance", 0.0)

    def run(**changes: Any) -> None:
        sampler = Sampler(name, **options)
        for _ in sampler.sample_strips(sampler.settle(Request("a cat", **request | changes))):
            pass

    def predicted() -> tuple[int, int]:
        blueprint = Blueprint(name)
        setup = GenerationSetup.of(blueprint, SamplingOptions(**request), on_gpu=False, **options)
        plan = plan_generation(blueprint, setup, present_machine())
        return plan.peak, plan.total_flops

    run(width=64, height=64)
    return predicted, run


def model(name: str, folder: Path) -> str:
    """`pocket`, or the folder of a tiny pipeline."""
    if name != "tiny":
        return name
    from tiny import tiny_sd3

    path = folder / "tiny"
    return str(path if path.is_dir() else tiny_sd3(path))


def measure_resident(run: Callable[..., Any]) -> int:
    """Bytes by which the process grows at most."""
    gc.collect()
    # What the warming up has given back, the C library gives back to the system.
    ctypes.CDLL(None).malloc_trim(0)
    before = _status("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # the peak counts from here
    run()
    return _status("VmHWM") - before


def run_case(kind: str, case: dict[str, Any], what: str) -> dict[str, int]:
    """One process's part of a case."""
    from measured import allocated_peak, counted_flops

    with tempfile.TemporaryDirectory() as folder:
        job = training_job if kind == "training" else sampling_job
        predicted, run = job(case, Path(folder))
        if what == "resident":
            return {"resident": measure_resident(run)}
        memory, flops = predicted()
        result = {"predicted": memory, "predicted_flops": flops}
        shards = {file.stat().st_size for file in Path(folder).glob("cache/shards/*")}
        return result | {"allocated": allocated_peak(run, shards), "flops": counted_flops(run)}


def show(case: dict[str, Any], found: dict[str, int]) -> dict[str, Any]:
    """Print a line; the figures with their errors."""
    errors = {
        what: round(found[prediction] / found[what] - 1, 4)
        for what, prediction in (
            ("allocated", "predicted"),
            ("resident", "predicted"),
            ("flops", "predicted_flops"),
        )
    }
    name = " ".join(f"{k}={v}" for k, v in case.items())
    sizes = ", ".join(
        f"{what} {found[what] / 2**20:.1f} MiB"
        + (f" ({errors[what]:+.1%})" if what in errors else "")
        for what in ("predicted", "allocated", "resident")
    )
    print(f"{name}: {sizes}, FLOPs {found['flops']:.4g} ({errors['flops']:+.2%})", flush=True)
    return {"case": case, **found, "errors": errors}


def _status(field: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(field))


def _child(kind: str, case: dict[str, Any], what: str) -> dict[str, int]:
    arguments = [
        sys.executable,
        __file__,
        "--kind",
        kind,
        "--only",
        json.dumps(case),
        "--what",
        what,
    ]
    own = {"MALLOC_MMAP_THRESHOLD_": "65536"} if what == "resident" else {}
    run = subprocess.run(
        arguments,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=os.environ | own,
    )
    if run.returncode:
        raise RuntimeError(f"exit code {run.returncode} of: {' '.join(arguments)}")
    return json.loads(run.stdout.splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kind", choices=("training", "sampling"))
    parser.add_argument("--only", help="one case as JSON, nothing else")
    parser.add_argument("--what", choices=("planned", "resident"), help="of the one case")
    options = parser.parse_args()
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    if options.only:
        print(json.dumps(run_case(options.kind, json.loads(options.only), options.what)))
        return
    for kind in [options.kind] if options.kind else ["training", "sampling"]:
        results = []
        for case in TRAINING if kind == "training" else SAMPLING:
            found = _child(kind, case, "planned") | _child(kind, case, "resident")
            results.append(show(case, found))
        worst = {
            what: max(abs(result["errors"][what]) for result in results)
            for what in ("allocated", "resident", "flops")
        }
        print(f"{kind}: largest errors {worst}", flush=True)
        save(f"plan_{kind}", {"steps": STEPS, "largest_errors": worst, "cases": results})


if __name__ == "__main__":
    main()
