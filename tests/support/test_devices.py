"""Devices that are not here: chosen, measured and planned by their kind, through the same code."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves, tree_map

from benchmarks.gpu.models import RandomModel
from benchmarks.gpu.setting import Setting
from diffusion4k.accounting.machine import described_machine, present_machine
from diffusion4k.errors import Diffusion4kError, UsageError
from diffusion4k.families import family_of, pixart
from diffusion4k.families.quantization import check_weights_option
from diffusion4k.models import positions
from diffusion4k.models.positions import replace_rotary
from diffusion4k.objectives import WaveletFlow
from diffusion4k.planning.generation import GenerationSetup, plan_generation
from diffusion4k.planning.plan import overhead
from diffusion4k.sampling.memory import Placement
from diffusion4k.sampling.options import SamplingOptions
from diffusion4k.support import devices
from diffusion4k.training.check import check_recipe
from diffusion4k.training.engine.float8 import check_float8
from diffusion4k.training.recipe.build import build_precision, computes_in_bf16
from diffusion4k.training.recipe.recipe import Recipe
from diffusion4k.training.step import denoising_loss
from diffusion4k.training.watch import bands
from diffusion4k.training.watch.bands import LossBySigma

MPS, CUDA, CPU = torch.device("mps"), torch.device("cuda"), torch.device("cpu")
GIB = 2**30


@pytest.fixture
def apple(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine whose only GPU is Apple's, as far as torch's answers go."""
    monkeypatch.setattr(torch.mps, "is_available", lambda: True)
    monkeypatch.setattr(torch.mps, "device_count", lambda: 1)
    monkeypatch.setattr(torch.mps, "recommended_max_memory", lambda: 32 * GIB)
    monkeypatch.setattr(torch.mps, "driver_allocated_memory", lambda: 2 * GIB)
    monkeypatch.setattr(torch.backends.mps, "is_macos_or_newer", lambda *_: True)


@pytest.mark.parametrize(
    ("there", "chosen"),
    [((), "cpu"), (("mps",), "mps"), (("xpu",), "xpu"), (("cuda", "mps"), "cuda")],
)
def test_a_gpu_of_any_make_is_chosen(
    monkeypatch: pytest.MonkeyPatch, there: tuple[str, ...], chosen: str
) -> None:
    for kind in ("cuda", "xpu", "mps"):
        module = torch.get_device_module(kind)
        monkeypatch.setattr(module, "is_available", lambda kind=kind: kind in there)
    assert devices.default_device() == torch.device(chosen)


def test_what_differs_between_kinds(apple: None, monkeypatch: pytest.MonkeyPatch) -> None:
    assert [devices.has_own_memory(d) for d in (CUDA, MPS, CPU)] == [True, False, False]
    assert [devices.widest_float(d) for d in (CUDA, MPS)] == [torch.float64, torch.float32]
    assert devices.half_precision(MPS) == torch.bfloat16
    assert devices.half_precision(CPU) == torch.float32
    monkeypatch.setattr(torch.backends.mps, "is_macos_or_newer", lambda *_: False)
    assert devices.half_precision(MPS) == torch.float32
    assert devices.peak_memory(MPS, restart=True) == 2 * GIB
    assert devices.free_device_memory(MPS) == 30 * GIB
    assert devices.peak_memory(CPU) > 2**27  # torch alone is more


def test_waiting_and_giving_back_are_the_device_s_own(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    for kind in ("cuda", "xpu", "mps"):
        for what in ("synchronize", "empty_cache"):
            module = torch.get_device_module(kind)
            monkeypatch.setattr(module, what, lambda at=f"{kind}.{what}": asked.append(at))
    for kind in ("cuda", "xpu", "mps", "cpu"):
        devices.synchronize(torch.device(kind))
        devices.empty_cache(torch.device(kind))
    assert asked == [
        f"{kind}.{what}"
        for kind in ("cuda", "xpu", "mps")
        for what in ("synchronize", "empty_cache")
    ]


def test_running_out_of_apple_s_memory_is_one_line() -> None:
    with pytest.raises(Diffusion4kError, match="smaller"), devices.enough_memory("smaller"):
        raise RuntimeError("MPS backend out of memory (MPS allocated: 17 GiB, max allowed: 18 GiB)")


# -- what runs there -------------------------------------------------------------------------------


class OnApple(Tensor):
    """A tensor that refuses what it would be refused on Apple's GPUs, which have no float64.

    What comes of it and of others is there, too, until it is brought to the CPU.
    """

    @classmethod
    def __torch_function__(
        cls, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        result = super().__torch_function__(function, types, args, kwargs)
        if function is Tensor.cpu:
            return result.as_subclass(Tensor)
        for leaf in tree_leaves(result):
            if isinstance(leaf, OnApple) and leaf.dtype in (torch.float64, torch.complex128):
                raise RuntimeError(f"{function.__name__}: no float64 on Apple's GPUs")
        return result


def on_apple(value: Any) -> Any:
    return tree_map(lambda leaf: leaf.as_subclass(OnApple), value)


def test_float64_would_be_seen() -> None:
    tensor = on_apple(torch.ones(2))
    assert type(tensor.cpu().double()) is Tensor
    for function in (Tensor.double, lambda t: t + torch.ones(2, dtype=torch.float64)):
        with pytest.raises(RuntimeError, match="no float64"):
            function(tensor)


@pytest.mark.parametrize(
    "name", ["sd3-medium", "flux.1-dev", "pixart-sigma-1024", "sana-1600m-4k", "z-image"]
)
@pytest.mark.parametrize("scaled", [False, True])
def test_a_loss_of_every_family_on_apple_s_gpus(
    name: str, scaled: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with RandomModel(name, Setting(tmp_path, tiny=True, device_name="cpu"), seed=0) as model:
        family, network = model.family, model.transformer(torch.float32)
        conditioning = model.conditioning(2, torch.float32)
    if scaled and name != "flux.1-dev":
        pytest.skip("its positions are a table")
    if scaled:
        replace_rotary(network, method="yarn", trained_tokens=2, time_dependent=False)
    latents, noise = torch.randn(2, 2, model.blueprint.latent_channels, 4, 4)
    question = {
        "latents": latents,
        "noise": noise,
        "sigma": torch.tensor([0.3, 0.8]),
        "conditioning": conditioning,
    }
    objective = WaveletFlow()

    @torch.no_grad()
    def losses(question: dict[str, Any]) -> tuple[Tensor, Tensor]:
        measured: list[Tensor] = []
        shown = {key: question[key] for key in ("latents", "noise", "sigma")}
        loss = denoising_loss(
            family,
            network,
            objective,
            **question,
            watch=lambda velocity, each: measured.append(
                LossBySigma.measure(velocity, **shown, loss=each)
            ),
        )
        return loss, measured[0]

    expected = losses(question)
    for module in (bands, pixart, positions):
        monkeypatch.setattr(module, "widest_float", lambda _: torch.float32)
    found = losses(on_apple(question))
    for one, other in zip(found, expected, strict=True):
        assert type(one) is OnApple and one.dtype == torch.float32
        torch.testing.assert_close(one.cpu(), other.float(), rtol=1e-4, atol=1e-5)


# -- what is planned, and refused ------------------------------------------------------------------


def test_plans_for_apple_s_gpus(apple: None, tmp_path: Path) -> None:
    machine = present_machine(measured=False)
    assert (machine.gpus, machine.device, machine.memory) == (1, "mps", 30 * GIB)
    assert machine.on_gpu and not machine.has_own_memory and overhead(machine) == 0
    model = RandomModel("sd3-medium", Setting(tmp_path, tiny=True, device_name="cpu")).blueprint
    setup = GenerationSetup.of(model, SamplingOptions(width=64, height=64), on_gpu=machine.on_gpu)
    assert setup.dtype == torch.bfloat16
    *_, decoding = plan_generation(model, setup, machine).stages
    assert "weights" in decoding.parts  # to move them would make no room
    *_, apart = plan_generation(model, setup, described_machine()).stages
    assert "weights" not in apart.parts


def test_nothing_is_moved_within_one_memory() -> None:
    for level in ("balanced", "low"):
        assert "transformer stays on mps" in str(Placement(level, MPS))


def test_precision_follows_the_device(apple: None, tiny_model: Path) -> None:
    recipe = Recipe(model=str(tiny_model), output="run", resolution=64, steps=1, data="pocket")
    assert computes_in_bf16(recipe, MPS) and not computes_in_bf16(recipe, CPU)
    with build_precision(recipe, MPS)():
        assert torch.is_autocast_enabled("mps")
        assert torch.get_autocast_dtype("mps") == torch.bfloat16


@pytest.mark.parametrize("weights", ["fp8", "nf4"])
def test_weights_that_apple_s_gpus_do_not_have(
    weights: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: True)
    check_weights_option(weights, CUDA)
    with pytest.raises(Diffusion4kError, match=f"weights {weights}: Apple"):
        check_weights_option(weights, MPS)


@pytest.mark.parametrize("keys", [{"offload": True}, {"engine": "fsdp2"}, {"engine": "deepspeed"}])
def test_engines_of_several_processes_are_refused_on_apple_s_gpus(
    apple: None, tiny_model: Path, keys: dict[str, Any]
) -> None:
    recipe = Recipe(
        model=str(tiny_model), output="run", resolution=64, steps=1, data="pocket", **keys
    )
    with pytest.raises(UsageError, match="Apple's GPUs one process trains"):
        check_recipe(recipe, family_of(tiny_model), tiny_model)


@pytest.mark.parametrize(
    ("architecture", "capability", "multiplies"),
    [
        ("gfx942:sramecc+:xnack-", (9, 4), True),
        ("gfx1201", (12, 0), True),
        ("gfx90a:sramecc+:xnack-", (9, 0), False),
        ("gfx1100", (11, 0), False),
    ],
)
def test_amd_s_float8_goes_by_architecture(
    monkeypatch: pytest.MonkeyPatch,
    architecture: str,
    capability: tuple[int, int],
    multiplies: bool,
) -> None:
    """By its capability number the MI210 would pass for a Hopper."""
    monkeypatch.setattr(torch.version, "hip", "6.4")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: capability)
    named = type("Properties", (), {"gcnArchName": architecture})
    monkeypatch.setattr(torch.cuda, "get_device_properties", named)
    monkeypatch.setattr("importlib.util.find_spec", lambda _: True)
    if multiplies:
        check_float8()
    else:
        with pytest.raises(UsageError, match="CDNA 3"):
            check_float8()
