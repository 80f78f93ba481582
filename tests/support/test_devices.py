"""Devices that are not here: chosen, measured and planned by their kind, through the same code."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from benchmarks.gpu.models import RandomModel
from benchmarks.gpu.setting import Setting
from diffusion4k.accounting.computation import FusedAttention
from diffusion4k.accounting.machine import described_machine, present_machine
from diffusion4k.errors import Diffusion4kError, UsageError
from diffusion4k.families import family_of
from diffusion4k.families.quantization import check_weights_option
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


class NoFloat64(TorchDispatchMode):
    """Refuses what Apple's GPUs refuse: they have no float64."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(result):
            if isinstance(leaf, torch.Tensor) and leaf.device.type == "mps":
                assert leaf.dtype not in (torch.float64, torch.complex128), func
        return result


@contextmanager
def on_apple() -> Iterator[None]:
    """Tensors of the device `mps` that have shapes and types alone, by torch's own rules."""
    with FakeTensorMode(), NoFloat64(), FusedAttention(), torch.no_grad():
        yield


def test_float64_would_be_seen() -> None:
    with pytest.raises(AssertionError), on_apple():
        torch.ones(2, device="mps").to(torch.float64)


@pytest.mark.parametrize(
    "name", ["sd3-medium", "flux.1-dev", "pixart-sigma-1024", "sana-1600m-4k", "z-image"]
)
def test_a_loss_of_every_family_on_apple_s_gpus(name: str, tmp_path: Path) -> None:
    model = RandomModel(name, Setting(tmp_path, tiny=True, device_name="cpu"))
    family = model.family
    config = dict(model.blueprint.transformer.config)
    shapes = {
        k: (v.shape, v.dtype) for k, v in model.family.empty_conditioning(model.folder, 2).items()
    }
    channels = model.blueprint.latent_channels
    with on_apple():
        with torch.device("mps"):
            network = type(model.blueprint.transformer).from_config(config)
            latents, noise = torch.randn(2, 2, channels, 4, 4)
            conditioning = {
                k: torch.ones(shape, dtype=dtype) for k, (shape, dtype) in shapes.items()
            }
            sigma = torch.rand(2)
        velocities = []
        loss = denoising_loss(
            family,
            network,
            WaveletFlow(),
            latents=latents,
            conditioning=conditioning,
            noise=noise,
            sigma=sigma,
            watch=lambda velocity, _: velocities.append(velocity),
        )
        measured = LossBySigma.measure(
            velocities[0], latents=latents, noise=noise, sigma=sigma, loss=loss
        )
        assert loss.device.type == measured.device.type == "mps"
        assert measured.dtype == torch.float32


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
