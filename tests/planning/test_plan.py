"""Plans, verdicts, and ways out."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from diffusion4k.accounting.blueprint import Blueprint
from diffusion4k.accounting.machine import Machine, described_machine, present_machine
from diffusion4k.accounting.stages import denoising_stage
from diffusion4k.planning import preflight
from diffusion4k.planning.generation import GenerationSetup, plan_generation
from diffusion4k.planning.plan import overhead
from diffusion4k.planning.report import report, verdict
from diffusion4k.planning.training import plan_training
from diffusion4k.planning.warning import generation_warning, training_warning
from diffusion4k.sampling.options import SamplingOptions
from diffusion4k.training.loop import train
from diffusion4k.training.recipe.recipe import Recipe, load_recipe
from tests.data.fake import make_folder

RECIPES = Path(__file__).parents[2] / "recipes"
LARGE = described_machine(gpu_memory="80GiB")
CPU = Machine(0, 2**34, 2**34, 2**34, 25e9, 1e11, 0.5)


def recipe(model: Path | str, **changes: Any) -> Recipe:
    content = {
        "model": str(model),
        "data": "pocket",
        "output": "runs/planned",
        "resolution": 256,
        "steps": 10,
        "batch_size": 32,
        "gradient_checkpointing": False,
        "validation": {"every": None},
    }
    return Recipe.model_validate(content | changes)


@pytest.fixture(scope="module")
def blueprint(tiny_model: Path) -> Blueprint:
    return Blueprint(tiny_model)


@pytest.fixture(scope="module")
def sd3() -> Blueprint:
    return Blueprint("sd3-medium")


def test_time_is_flops_over_what_the_machine_does(tiny_model: Path, blueprint: Blueprint) -> None:
    plan = plan_training(blueprint, recipe(tiny_model), CPU, images=1)
    assert plan.step_seconds == pytest.approx(plan.step_flops / 5e10)
    assert plan.total_seconds > 10 * plan.step_seconds
    twice = plan_training(blueprint, recipe(tiny_model), replace(CPU, utilisation=0.25), images=1)
    assert twice.step_seconds == pytest.approx(2 * plan.step_seconds)


def test_photographs_are_encoded_by_all_gpus_in_float32(
    tiny_model: Path, blueprint: Blueprint
) -> None:
    """On a GPU in TF32: convolutions take twice as long as in bfloat16."""

    def seconds_of_encoding(gpus: int, **keys: Any) -> float:
        wanted, machine = recipe(tiny_model, **keys), replace(LARGE, gpus=gpus)
        plan = plan_training(blueprint, wanted, machine, images=100)
        text, image = plan.stages[:2]
        found = plan.total_seconds - plan.steps * plan.step_seconds
        pictures = 4 if wanted.flip else 2
        expected = 100 * machine.seconds(text.flops + pictures * image.flops) / gpus
        assert found == pytest.approx(expected, rel=1e-6)
        return found

    one = seconds_of_encoding(1)
    assert seconds_of_encoding(4) == pytest.approx(one / 4)
    assert seconds_of_encoding(1, flip=True) > 1.5 * seconds_of_encoding(1, flip=False)


def test_gradients_go_around_several_gpus(tiny_model: Path, blueprint: Blueprint) -> None:
    one = plan_training(blueprint, recipe(tiny_model), LARGE, images=1)
    wanted = recipe(tiny_model, engine="ddp")
    four = plan_training(blueprint, wanted, replace(LARGE, gpus=4), images=1)
    gradients = 4 * one.parameters["transformer"]
    assert four.step_seconds - one.step_seconds == pytest.approx(1.5 * gradients / 25e9, rel=1e-3)
    assert four.stages[2].parts["gradient buckets"] == gradients


def test_disk_is_what_a_run_writes(tiny_model: Path, tmp_path: Path) -> None:
    photographs = make_folder(tmp_path / "photographs", [(768, 512), (768, 512)])
    wanted = recipe(
        tiny_model,
        data=str(photographs),
        output=str(tmp_path / "run"),
        steps=2,
        batch_size=1,
        resolution=512,
        crop=64,
        checkpoint={"every": 1, "keep": 2},
    )
    plan = plan_training(Blueprint(tiny_model), wanted, CPU)
    train(wanted)

    def size(folder: Path) -> int:
        return sum(file.stat().st_size for file in folder.rglob("*.safetensors"))

    # Headers of files count for something in so small a model.
    assert plan.disk["checkpoints"] == pytest.approx(size(tmp_path / "run/checkpoints"), rel=0.1)
    assert plan.disk["cache"] == pytest.approx(size(tmp_path / "run/cache"), rel=0.1)


def test_what_does_not_fit_has_a_way_out_that_fits(tiny_model: Path, blueprint: Blueprint) -> None:
    wanted = recipe(tiny_model)
    whole = plan_training(blueprint, wanted, CPU, images=1)
    assert whole.fits and not whole.changes and verdict(whole).startswith("fits")
    small = replace(CPU, memory=int(whole.peak * 0.8))
    plan = plan_training(blueprint, wanted, small, images=1)
    assert plan.shortages == ["device"]
    change = plan.changes[-1]
    assert " ".join(change.how) in verdict(plan)
    # Done as told, it does fit, and takes what was told.
    told = dict(each.split("=") for each in change.how)
    done = recipe(tiny_model, **{key: json.loads(value) for key, value in told.items()})
    after = plan_training(blueprint, done, small, images=1)
    assert after.fits and after.peak == pytest.approx(change.peak, rel=0.1)


@pytest.mark.parametrize("share", [0.35, 0.2])
def test_a_smaller_batch_takes_what_was_told(
    tiny_model: Path, blueprint: Blueprint, share: float
) -> None:
    wanted = recipe(tiny_model, gradient_checkpointing=True)
    whole = plan_training(blueprint, wanted, CPU, images=1)
    small = replace(CPU, memory=int(whole.highest.peak * share / 0.95))
    plan = plan_training(blueprint, wanted, small, images=1)
    told = dict(each.split("=") for each in plan.changes[-1].how)
    changes: dict[str, Any] = {
        key: int(told[key]) for key in ("batch_size", "gradient_accumulation") if key in told
    }
    assert changes["batch_size"] * changes["gradient_accumulation"] == 32
    after = plan_training(blueprint, wanted.model_copy(update=changes), small, images=1)
    step = max(stage.peak for stage in after.stages[2:])
    assert step == pytest.approx(plan.changes[-1].peak, rel=0.1)


def test_several_gpus_share_the_weights_out(tiny_model: Path, blueprint: Blueprint) -> None:
    def parts(gpus: int, **keys: Any) -> dict[str, int]:
        machine = replace(LARGE, gpus=gpus)
        plan = plan_training(blueprint, recipe(tiny_model, **keys), machine, images=1)
        return plan.stages[3].parts

    one, shared, whole = parts(1), parts(4), parts(4, engine="ddp")
    for part in ("gradients", "optimizer"):
        assert shared[part] == pytest.approx(one[part] / 4, rel=1e-3)
        assert whole[part] == one[part]
    assert whole["gradient buckets"] == one["gradients"] and "gradient buckets" not in shared
    offloaded = parts(4, offload=True)
    assert "optimizer" not in offloaded and offloaded["weights"] <= shared["weights"]


def test_one_gpu_can_offload(tiny_model: Path, blueprint: Blueprint) -> None:
    wanted = recipe(tiny_model, offload=True)
    parts = plan_training(blueprint, wanted, LARGE, images=1).stages[3].parts
    assert "optimizer" not in parts and "gradients" not in parts


def test_shared_weights_are_gathered_in_bfloat16_and_not_copied(
    tiny_model: Path, blueprint: Blueprint
) -> None:
    def step(gpus: int, **keys: Any) -> dict[str, int]:
        wanted = recipe(tiny_model, precision="bf16", **keys)
        machine = replace(LARGE, gpus=gpus)
        return plan_training(blueprint, wanted, machine, images=1).stages[2].parts

    one, whole, shared = step(1), step(4, engine="ddp"), step(4)
    # Autocast keeps those of all products of matrices that were made before the peak, which is in
    # the backward pass of an attention.
    layers = [m for m in blueprint.transformer.modules() if isinstance(m, (nn.Linear, nn.Conv2d))]
    copies = 2 * sum(p.numel() for layer in layers for p in layer.parameters())
    assert 0.6 * copies < one["weight copies"] == whole["weight copies"] <= copies
    assert "weight copies" not in shared
    # An nth, and two of the tiny model's two blocks in half of float32.
    assert shared["weights"] == pytest.approx(one["weights"] * (1 / 4 + 1 / 2), rel=1e-3)
    for part in ("activations", "workspace"):
        assert shared.get(part) == one.get(part)


def test_a_run_of_one_process_has_one_gpu(tiny_model: Path) -> None:
    eight = replace(LARGE, gpus=8, ram=2**30)
    assert eight.of_run(1).gpus == 1 and eight.of_run(1).ram == 2**30
    assert eight.of_run(16).gpus == 16 and eight.of_run(16).ram == 2**31
    assert CPU.of_run(4) == CPU


DONE_ALWAYS = (("sd3-2b-wlf", 1), ("sd3-2b-wlf", 8), ("flux-12b-wlf", 8))


@pytest.mark.parametrize(
    ("name", "world"),
    [
        pytest.param(name, world, marks=[pytest.mark.slow] * ((name, world) not in DONE_ALWAYS))
        for name in ("sd3-2b-wlf", "flux-12b-wlf")
        for world in range(1, 9)
    ],
)
def test_the_paper_s_runs_on_one_to_eight_of_eight_gpus(
    monkeypatch: pytest.MonkeyPatch, name: str, world: int
) -> None:
    """No refusal of what fits, and no word of what does not: Flux' weights, gradients and moments
    are 177 GiB, Stable Diffusion 3's 31."""
    wanted = load_recipe(RECIPES / "paper" / f"{name}.yaml")
    model = Blueprint(wanted.model)
    monkeypatch.setattr(preflight, "resolve", lambda _: model.folder)
    monkeypatch.setattr(preflight, "family_of", lambda *_, **__: model.family)
    monkeypatch.setattr(preflight, "recipe_checks", lambda *_: [])
    monkeypatch.setattr(preflight, "Blueprint", lambda *_, **__: model)
    machine = described_machine(gpus=8, gpu_memory="80GiB")
    found = preflight.look_over(wanted, world=world, machine=machine)
    divides = wanted.global_batch_size % (wanted.batch_size * world) == 0
    assert any("cannot divide" in problem for problem in found.problems) != divides
    if divides:
        assert found.plan is not None and found.plan.machine.gpus == world
        fits_not = name == "flux-12b-wlf" and world < 4
        assert any("does not fit" in problem for problem in found.problems) == fits_not
        assert not [warning for warning in found.warnings if "enlarged" not in warning]


def test_processes_that_do_not_divide_this_machine_s_gpus(tiny_model: Path) -> None:
    wanted = recipe(tiny_model, global_batch_size=4, batch_size=2)
    machine = described_machine(gpus=6, gpu_memory="80GiB")
    found = preflight.look_over(wanted, world=2, machine=machine)
    assert not any("cannot divide" in problem for problem in found.problems)


def test_deepspeed_shares_all_but_the_weights(tiny_model: Path, blueprint: Blueprint) -> None:
    def parts(gpus: int, **keys: Any) -> dict[str, int]:
        machine = replace(LARGE, gpus=gpus)
        return (
            plan_training(blueprint, recipe(tiny_model, **keys), machine, images=1).stages[3].parts
        )

    one = parts(1, engine="ddp")
    for gpus in (1, 4):
        shared = parts(gpus, engine="deepspeed")
        assert shared["weights"] == one["weights"]
        assert shared["gradients"] == pytest.approx(one["gradients"] / gpus, rel=1e-3)
        # Two moments and a copy of the weights.
        assert shared["optimizer"] == pytest.approx(3 * one["gradients"] / gpus, rel=1e-3)
        offloaded = parts(gpus, engine="deepspeed", offload=True)
        # Beside them the norms of gradients, a number each.
        assert set(offloaded) - {"activations"} == {"weights", "gradient buckets"}
        assert offloaded["weights"] == one["weights"]


def test_nothing_makes_it_fit(tiny_model: Path, blueprint: Blueprint) -> None:
    plan = plan_training(blueprint, recipe(tiny_model), replace(CPU, memory=2**10), images=1)
    assert not plan.fits
    assert "does not fit" in verdict(plan)


def test_images_of_several_levels(sd3: Blueprint) -> None:
    def plan(gpu_memory: str = "80GiB", **options: Any) -> Any:
        setup = GenerationSetup.of(
            sd3, SamplingOptions(width=2048, height=2048), on_gpu=True, **options
        )
        return plan_generation(sd3, setup, described_machine(gpu_memory=gpu_memory))

    high, balanced, low = (plan(memory=level) for level in ("high", "balanced", "low"))
    assert high.peak > balanced.peak
    weights = [p.stages[1].parts["weights"] for p in (high, balanced, low)]
    assert weights[0] == weights[1] > 5 * weights[2]
    # T5 decides where text encoders have to be on the device at all.
    assert low.highest.name == "text encoding"
    fp8 = plan(weights="fp8").stages[1].parts["weights"]
    assert fp8 == pytest.approx(weights[0] / 2, rel=0.1)
    limited = plan(max_memory="256MiB").stages[2].parts["activations"]
    assert limited <= 2**28 < balanced.stages[2].parts["activations"]


def test_an_image_that_does_not_fit(sd3: Blueprint) -> None:
    machine = described_machine(gpu_memory="12GiB")
    setup = GenerationSetup.of(sd3, on_gpu=True, dtype="float32")
    plan = plan_generation(sd3, setup, machine)
    assert not plan.fits
    assert "--dtype bfloat16" in " ".join(plan.changes[0].how)
    own = GenerationSetup.of(sd3, on_gpu=True, dtype="bfloat16")
    assert plan_generation(sd3, own, machine).fits


def test_a_decoder_that_a_limit_makes_smaller() -> None:
    sana = Blueprint("sana-1600m-4k")
    setup = GenerationSetup.of(sana, on_gpu=True)
    plan = plan_generation(sana, setup, described_machine(gpu_memory="16GiB"))
    assert plan.highest.name == "decoding" and plan.fits
    plan = plan_generation(sana, setup, described_machine(gpu_memory="8GiB"))
    assert not plan.fits and plan.changes[0].how == ("--max-memory 4GiB",)
    plan = plan_generation(sana, setup, described_machine(gpu_memory="3GiB"))
    assert "still too much" in verdict(plan)


def test_guidance_doubles_the_step(sd3: Blueprint) -> None:
    def flops(guidance: float) -> int:
        setup = GenerationSetup.of(
            sd3, SamplingOptions(width=1024, height=1024, guidance=guidance), on_gpu=True
        )
        return plan_generation(sd3, setup, LARGE).step_flops

    assert flops(7.0) == 2 * flops(0.0)


def test_report_and_json(blueprint: Blueprint) -> None:
    setup = GenerationSetup.of(blueprint, SamplingOptions(width=256, height=256), on_gpu=False)
    plan = plan_generation(blueprint, setup, present_machine())
    text = report(plan)
    for word in ("transformer", "text encoding", "denoising", "decoding", "plain decoding", "fits"):
        assert word in text
    content = plan.as_dict()
    assert content["peak"] == plan.peak
    assert [stage["name"] for stage in content["stages"]] == [s.name for s in plan.stages]
    json.dumps(content)


def test_warnings_come_only_where_memory_does_not_suffice(tiny_model: Path) -> None:
    small, options = replace(CPU, memory=2**20), SamplingOptions(width=512, height=512)
    for machine, warns in ((CPU, False), (small, True)):
        told = training_warning(recipe(tiny_model), machine)
        assert (told is not None) == warns
        told = generation_warning(str(tiny_model), None, options, machine=machine)
        assert (told is not None) == warns
        assert not told or told.startswith("warning: does not fit")
    # What is wrong with the model is told by the run itself.
    assert training_warning(recipe("absent"), small) is None


def test_the_bound_of_warnings_is_above_the_plan(tiny_model: Path, blueprint: Blueprint) -> None:
    """Just above the plan's figure there is no warning, and just below there is one."""
    setup = GenerationSetup.of(blueprint, SamplingOptions(width=512, height=512), on_gpu=False)
    peak = plan_generation(blueprint, setup, CPU).peak
    options = SamplingOptions(width=512, height=512)
    below, above = (replace(CPU, memory=int(peak * s)) for s in (1.0, 1.1))
    assert generation_warning(str(tiny_model), None, options, machine=below)
    assert generation_warning(str(tiny_model), None, options, machine=above) is None
    peak = plan_training(blueprint, recipe(tiny_model), CPU, images=1).peak
    below, above = (replace(CPU, memory=int(peak * s)) for s in (1.0, 1.1))
    assert training_warning(recipe(tiny_model), below)
    assert training_warning(recipe(tiny_model), above) is None


def test_present_machine(tmp_path: Path) -> None:
    machine = present_machine(folder=tmp_path / "not" / "there")
    assert machine.gpus == torch.cuda.device_count()
    assert machine.memory > 2**28 and machine.flops > 1e8 and (machine.disk or 0) > 0


def test_building_the_plan_is_not_counted() -> None:
    """What is kept from one stage to the next is made before anything is counted."""
    model = Blueprint("sd3-medium")
    size = 512, 512, torch.bfloat16
    first, again = (denoising_stage(model, *size, guided=False, gpu=False) for _ in range(2))
    assert first == again


def test_what_no_tensor_holds() -> None:
    """CUDA and cuBLAS on each GPU; NCCL's buffers where there are several."""
    one, two = (overhead(described_machine(gpus=gpus)) for gpus in (1, 2))
    assert (one, two - one) == (2**29 + 2**25, 2**28)
    assert overhead(replace(described_machine(), device="mps")) == 0
