"""The plan of an image in stages beside the same image really made by the tiny pipeline."""

import json
import shutil
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks.measured import allocated_peak, counted_flops
from diffusion4k.accounting.blueprint import Blueprint
from diffusion4k.accounting.machine import described_machine
from diffusion4k.accounting.stages import lean_encoding_stage
from diffusion4k.errors import UsageError
from diffusion4k.families import family_of
from diffusion4k.families.stages import StageOptions
from diffusion4k.planning.generation import GenerationSetup, plan_generation
from diffusion4k.planning.plan import Plan
from diffusion4k.planning.report import report
from diffusion4k.planning.warning import generation_warning
from diffusion4k.planning.windows import count_windows
from diffusion4k.sampling import Request, Sampler
from diffusion4k.sampling.options import SamplingOptions
from diffusion4k.sampling.stages import Stage
from diffusion4k.sampling.windows import overlapping, shifted
from diffusion4k.vae import lean_encode
from tests.planning.test_plan import CPU

F32 = torch.float32
LAST = ["decoding 512x512"]


@pytest.fixture(scope="module")
def blueprint(tiny_model: Path) -> Blueprint:
    return Blueprint(tiny_model)


def asked(**changes: Any) -> dict[str, Any]:
    """A picture that the tiny model makes in stages of 64 (F=8), 128 and 512 pixels."""
    options = {"strength": 0.5, "steps": 2, "window": 4, "grid": "overlap", "low_bands": "off"}
    options |= changes.pop("options", {})
    fields = {"width": 512, "height": 512, "steps": 1, "guidance": 0.0, "stages": (64, 128)}
    return fields | {"stage_options": StageOptions(**options)} | changes


def planned(model: Blueprint, machine: Any = CPU, memory: str = "balanced", **changes: Any) -> Plan:
    image = SamplingOptions(**asked(**changes))
    setup = GenerationSetup.of(model, image, on_gpu=machine.on_gpu, memory=memory)
    return plan_generation(model, setup, machine)


@pytest.mark.parametrize("guidance", [0.0, 3.0])
def test_a_whole_image(tiny_model: Path, blueprint: Blueprint, guidance: float) -> None:
    plan = planned(blueprint, guidance=guidance)
    sampler = Sampler(tiny_model)
    settings = sampler.settle(Request("a cat", **asked(guidance=guidance)))
    for _ in sampler.sample_strips(settings):  # what is made once is there then
        pass

    def run() -> None:
        for _ in sampler.sample_strips(settings):
            pass

    text = plan.stages[0].flops
    assert plan.total_flops - text == pytest.approx(counted_flops(run), rel=0.02)
    weights = plan.highest.parts["weights"] + plan.highest.parts["autoencoder"]
    # Pictures that are no tensors count in neither.
    assert plan.highest.peak - weights == pytest.approx(allocated_peak(run), rel=0.1)


def test_names_times_and_time(blueprint: Blueprint) -> None:
    plan = planned(blueprint)
    assert [(stage.name, stage.times) for stage in plan.stages] == [
        ("text encoding", 1),
        ("denoising 64x64", 1),
        ("decoding 64x64", 1),
        ("encoding 128x128", 1),
        ("denoising 128x128", 1),
        ("decoding 128x128", 1),
        ("encoding 512x512", 1),
        ("denoising 512x512", 1),
        ("decoding 512x512", 1),
    ]
    assert plan.steps == 3 and "3 stages, 3 steps" in plan.what
    longer = planned(blueprint, options={"steps": 8})
    assert [s.times for s in longer.stages if "denoising" in s.name] == [1, 4, 4]
    assert longer.total_seconds == pytest.approx(sum(map(longer.seconds, longer.stages)))
    assert longer.total_seconds == pytest.approx(longer.total_flops / 5e10)
    for line in ("denoising 128x128", "encoding 512x512"):
        assert line in report(longer)
    content = longer.as_dict()["stages"]
    assert [stage["seconds"] for stage in content] == [longer.seconds(s) for s in longer.stages]


def test_memory_of_a_windowed_step_does_not_grow_with_the_image(blueprint: Blueprint) -> None:
    """But for its latents: four times as many pixels, the same windows."""

    def step(side: int) -> dict[str, int]:
        size = {"width": side, "height": side, "stages": (256, 512)}
        stages = planned(blueprint, **size, options={"window": 16}).stages
        parts = dict(next(s for s in stages if s.name == f"denoising {side}x{side}").parts)
        assert parts.pop("latents") == 5 * 4 * 16 * (side // 16) ** 2
        return parts

    assert step(2048) == step(4096)  # Fewer pixels do not fill a batch of windows.


def test_weights_that_are_streamed_come_with_each_call() -> None:
    sd3 = Blueprint("sd3-medium")
    fields = {"width": 4096, "height": 4096, "stages": (1024,), "stage_options": None}
    plan = planned(sd3, described_machine(gpu_memory="80GiB"), "low", **fields)
    draft, last = (stage for stage in plan.stages if stage.name.startswith("denoising"))
    # A window of 64x64 tokens fills a call, and nearly all places of the grid have 9 of them.
    assert last.moved == 9 * draft.moved > 0
    assert plan.seconds(last) >= last.times * last.moved / plan.machine.bandwidth


@pytest.mark.parametrize("side", [512, 544])
def test_encoding_an_image(tiny_model: Path, blueprint: Blueprint, side: int) -> None:
    family = family_of(tiny_model)
    autoencoder = family.load_autoencoder(tiny_model, dtype=F32)
    image = torch.zeros(1, 3, 512, side)

    def run() -> None:
        lean_encode(autoencoder, image)

    run()
    stage = lean_encoding_stage(blueprint, side, 512, F32, gpu=False)
    assert stage.flops == pytest.approx(counted_flops(run), rel=0.02)
    assert stage.parts["activations"] == pytest.approx(allocated_peak(run), rel=0.1)
    assert stage.parts["picture"] == 4 * image.numel()


def test_encoding_keeps_to_a_limit(blueprint: Blueprint) -> None:
    limit = 4 * 2**20
    free, limited = (
        lean_encoding_stage(blueprint, 512, 512, F32, max_memory=m, gpu=False)
        for m in (None, limit)
    )
    assert limited.parts["activations"] <= limit < free.parts["activations"]


def test_windows_are_counted_over_all_places_of_the_grid(tiny_model: Path) -> None:
    """Brute force: every offset along both axes, as the sampler cuts them."""
    family = family_of(tiny_model)
    stage = Stage(320, 192, 2, 0.0, 16, strength=0.5, window=4, grid="shifted")
    found = count_windows(stage, family)
    side = 8  # latents: 4 tokens of 2
    every = [
        len(shifted(20, side, along)) * len(shifted(12, side, down))
        for along, down in product(range(side), repeat=2)
    ]
    assert found is not None and found.count == pytest.approx(sum(every) / len(every))
    assert (found.width, found.height) == (128, 128)
    flat = Stage(320, 64, 2, 0.0, 16, strength=0.5, window=4, grid="overlap")
    found = count_windows(flat, family)
    assert found is not None and found.count == len(overlapping(20, side))
    assert (found.width, found.height, found.per_call) == (128, 64, 4096 // 8)
    assert count_windows(Stage(320, 192, 2, 0.0, 16), family) is None


def test_direct_and_what_the_model_folder_states(
    tiny_model: Path, blueprint: Blueprint, tmp_path: Path
) -> None:
    direct = planned(blueprint, stages=(), stage_options=None)
    assert [s.name for s in direct.stages] == ["text encoding", "denoising", "decoding"]
    folder = shutil.copytree(tiny_model, tmp_path / "stating")
    stated = {"stages": [{"side": 64}, {"side": 512, "strength": 0.5}], "max_memory": "4MiB"}
    (folder / "diffusion4k.json").write_text(json.dumps(stated))
    plan = planned(Blueprint(folder), stages=None, stage_options=None)
    assert [s.name for s in plan.stages[1::2]] == ["denoising 64x64", "encoding 512x512", *LAST]
    assert plan.stages[3].parts["activations"] <= 2**22 < direct.stages[2].parts["activations"]
    with pytest.raises(UsageError, match="stage 1024: larger than the image"):
        planned(blueprint, stages=(64, 1024))


def test_warning_of_an_image_in_stages(tiny_model: Path, blueprint: Blueprint) -> None:
    peak = planned(blueprint).peak
    for share, warns in ((1.0, True), (1.1, False)):
        machine = type(CPU)(0, int(share * peak), None, None, 1e9, 1e11, 0.5)
        told = generation_warning(
            str(tiny_model), None, SamplingOptions(**asked()), machine=machine
        )
        assert (told is not None) == warns
