"""Every family on devices that are not here: shares of one process that believes it is one of
eight, weights of fewer bits, compiled blocks, and weights that are somewhere else."""

from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.distributed as dist
from accelerate.state import AcceleratorState, GradientState
from diffusers.quantizers.bitsandbytes import BnB4BitDiffusersQuantizer
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from benchmarks.tiny import tiny_sd3, tiny_transformer
from diffusion4k.families import family_of
from diffusion4k.families.quantization import load_transformer
from diffusion4k.lora import add_adapter
from diffusion4k.objectives import WaveletFlow
from diffusion4k.training import preview
from diffusion4k.training.checkpoint.sharded import TrainingState
from diffusion4k.training.engine import engine as engine_module
from diffusion4k.training.engine import float8
from diffusion4k.training.engine.engine import Engine, blocks_of
from diffusion4k.training.engine.optimizers import make_optimizer
from diffusion4k.training.engine.recompute import recompute
from diffusion4k.training.preview import Preview, encode_prompts
from diffusion4k.training.recipe.recipe import OptimizerRecipe, Recipe
from diffusion4k.training.step import denoising_loss
from tests.families.test_flux import tiny_flux
from tests.families.test_pixart import tiny_pixart
from tests.families.test_sana import tiny_sana
from tests.families.test_sd35 import tiny_sd35
from tests.families.test_z_image import tiny_z_image
from tests.training.test_devices import Offloaded, through_a_checkpoint

Make = Callable[..., Recipe]
CPU = torch.device("cpu")
BUILD: dict[str, Callable[..., Any]] = {
    "sd3": tiny_sd3,
    "sd35": tiny_sd35,
    "flux": tiny_flux,
    "pixart": tiny_pixart,
    "sana": tiny_sana,
    "z-image": tiny_z_image,
}
EIGHT, RANK = 8, 3


@pytest.fixture(scope="module", params=sorted(BUILD))
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bench") / request.param
    with torch.random.fork_rng():
        torch.manual_seed(0)
        BUILD[request.param](folder)
    return folder


@pytest.fixture
def group() -> Iterator[None]:
    yield
    if dist.is_initialized():
        dist.destroy_process_group()
    AcceleratorState._reset_state(True)
    GradientState._reset_state()


def _load(model: Path) -> nn.Module:
    return family_of(model).load_transformer(model, dtype=torch.float32).train()


def _loss(model: Path, network: Any, batch: int = 2) -> Tensor:
    """Of the same pictures, noise and captions each time."""
    family, generator = family_of(model), torch.Generator().manual_seed(0)
    conditioning = {
        name: torch.ones(tensor.shape, dtype=tensor.dtype)
        if tensor.dtype in (torch.int64, torch.bool)
        else torch.randn(tensor.shape, generator=generator)
        for name, tensor in family.empty_conditioning(model, batch).items()
    }
    channels = family.load_autoencoder(model, dtype=torch.float32).config.latent_channels
    latents, noise = torch.randn(2, batch, channels, 4, 4, generator=generator)
    return denoising_loss(
        family,
        network,
        WaveletFlow(),
        latents=latents,
        conditioning=conditioning,
        noise=noise,
        sigma=torch.tensor([0.3, 0.8][:batch]),
    ).mean()


def _gradients(network: nn.Module) -> dict[str, Tensor]:
    return {
        name.removeprefix("module."): p.grad.full_tensor()
        if isinstance(p.grad, DTensor)
        else p.grad
        for name, p in network.named_parameters()
        if p.grad is not None
    }


def _same(found: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=1e-4, atol=1e-6, msg=name)


# -- one of eight ----------------------------------------------------------------------------------


def _of_eight(monkeypatch: pytest.MonkeyPatch) -> Engine:
    from torch.testing._internal.distributed.fake_pg import FakeStore

    dist.init_process_group("fake", store=FakeStore(), rank=RANK, world_size=EIGHT)
    engine = Engine()
    engine.name, engine.rank, engine.world = "fsdp2", RANK, EIGHT
    monkeypatch.setattr(Engine, "highest", lambda _, number: number)
    return engine


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_a_step_of_one_of_eight(
    model: Path, group: None, monkeypatch: pytest.MonkeyPatch, optimizer: str
) -> None:
    """Nothing but shapes: what the other seven have to say is not heard."""
    engine = _of_eight(monkeypatch)
    network = engine.place(lambda: _load(model), bfloat16=True)
    assert engine.spread(network) is network
    with torch.autocast("cpu", torch.bfloat16):
        _loss(model, network).backward()
    stepper = make_optimizer(OptimizerRecipe(name=optimizer), network)
    engine.clip(network.parameters(), 1.0)
    stepper.step()
    held = 0
    for name, parameter in network.named_parameters():
        assert isinstance(parameter, DTensor) and parameter.grad is not None, name
        held += parameter.to_local().numel()
        assert parameter.to_local().dtype == parameter.grad.to_local().dtype == torch.float32
        for kept in stepper.state[parameter].values():
            assert kept.dim() == 0 or kept.to_local().shape == parameter.to_local().shape
    whole = sum(p.numel() for p in network.parameters())
    assert held < 0.2 * whole  # an eighth, but for what does not divide by eight


def test_the_processes_of_a_machine_load_one_after_the_other(
    group: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []
    engine = Engine()
    monkeypatch.setattr(engine_module.Engine, "highest", lambda _, number: max(number, EIGHT))
    monkeypatch.setattr(engine_module.Engine, "wait", lambda _: told.append("wait"))
    engine.accelerator = SimpleNamespace(local_process_index=RANK)  # type: ignore[assignment]

    def load() -> nn.Module:
        told.append("load")
        return tiny_transformer()

    engine.place(load)
    assert told == ["wait"] * RANK + ["load"] + ["wait"] * (EIGHT - RANK)


# -- each engine, blocks computed again or compiled ------------------------------------------------


def _prepared(model: Path, again: Any, compiled: bool) -> nn.Module:
    network: Any = _load(model)
    blocks = blocks_of(network)
    if again:
        network.enable_gradient_checkpointing(recompute(again, blocks))
    if compiled:
        for block in blocks:
            block.compile(backend="aot_eager")
    return network


def _spread(engine: str, load: Callable[[], nn.Module]) -> nn.Module:
    if engine == "ddp":
        dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    found = Engine(engine, offload=engine == "fsdp2")  # which one process takes to offload only
    found.name = engine
    return found.spread(found.place(load))


@pytest.mark.parametrize("engine", ["ddp", "fsdp2"])
@pytest.mark.parametrize("again", [False, True, "selective"])
def test_engines_and_recomputation_change_no_gradient(
    model: Path, group: None, engine: str, again: Any
) -> None:
    plain = _load(model)
    _loss(model, plain).backward()
    network = _spread(engine, lambda: _prepared(model, again, False))
    _loss(model, network).backward()
    _same(_gradients(network), _gradients(plain))


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["single", "ddp", "fsdp2"])
@pytest.mark.parametrize("again", [False, True, "selective"])
def test_compiled_blocks_change_no_gradient(
    model: Path, group: None, engine: str, again: Any
) -> None:
    torch._dynamo.reset()
    plain = _load(model)
    _loss(model, plain).backward()
    network = _spread(engine, lambda: _prepared(model, again, True))
    _loss(model, network).backward()
    _same(_gradients(network), _gradients(plain))


def test_compiled_blocks_in_ddp_that_are_computed_again(group: None, tmp_path: Path) -> None:
    """torch's DDPOptimizer fails on it, and is switched off."""
    torch._dynamo.reset()
    model = tiny_sd3(tmp_path / "model")
    network = _spread("ddp", lambda: _prepared(model, "selective", True))
    assert torch._dynamo.config.optimize_ddp is False
    _loss(model, network).backward()
    assert all(p.grad is not None for p in network.parameters() if p.requires_grad)


# -- weights of fewer bits -------------------------------------------------------------------------


@pytest.mark.parametrize("batch", [1, 2])
def test_what_is_multiplied_in_float8_sees_tokens(
    model: Path, monkeypatch: pytest.MonkeyPatch, batch: int
) -> None:
    """And not one row a picture, which torch refuses for one picture and which gains nothing."""
    monkeypatch.setattr(float8, "_MULTIPLE", 1)  # tiny layers divide by less
    network, rows = _load(model), dict[str, int]()

    def note(name: str) -> Callable[..., None]:
        return lambda layer, inputs: rows.__setitem__(name, inputs[0].numel() // layer.in_features)

    layers = {
        name: module
        for block in blocks_of(network)
        for name, module in network.named_modules()
        if isinstance(module, nn.Linear) and any(module is part for part in block.modules())
    }
    for name, layer in layers.items():
        layer.register_forward_pre_hook(note(name))
    _loss(model, network, batch)
    chosen = {name for name, count in rows.items() if count > batch}
    assert chosen == float8.converted_layers(network).keys()
    assert len(chosen) > 3


@pytest.mark.parametrize(("weights", "package"), [("int8", "torchao"), ("nf4", "bitsandbytes")])
def test_adapters_on_weights_of_fewer_bits(
    model: Path, group: None, monkeypatch: pytest.MonkeyPatch, weights: str, package: str
) -> None:
    pytest.importorskip(package)
    if weights == "nf4":
        # diffusers asks for a GPU, and bitsandbytes computes on the CPU as well.
        quantizer = BnB4BitDiffusersQuantizer
        monkeypatch.setattr(quantizer, "validate_environment", lambda *_, **__: None)
        monkeypatch.setattr(quantizer, "update_device_map", lambda *_: {"": "cpu"})
    family = family_of(model)

    def load() -> nn.Module:
        frozen = load_transformer(family, model, dtype=torch.float32, weights=weights).train()
        add_adapter(frozen, rank=2, alpha=2, targets=family.lora_targets, seed=0)
        return frozen

    network = _spread("ddp", load)
    _loss(model, network).backward()
    trained = {name for name, p in network.named_parameters() if p.requires_grad}
    assert trained and trained == {n for n, p in network.named_parameters() if p.grad is not None}
    assert all("lora" in name for name in trained)


@pytest.mark.parametrize("name", ["adamw8bit", "paged-adamw8bit"])
def test_eight_bit_optimizers_are_saved_and_come_back(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str
) -> None:
    bitsandbytes = pytest.importorskip("bitsandbytes")
    # Pages are of a GPU's driver; the rest of the optimizer is the other one's.
    monkeypatch.setattr(bitsandbytes.optim, "PagedAdamW8bit", bitsandbytes.optim.AdamW8bit)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    wanted = OptimizerRecipe(name=name, learning_rate=1e-2)
    torch.manual_seed(0)
    one, two = nn.Linear(128, 64), nn.Linear(128, 64)
    two.load_state_dict(one.state_dict())
    first, second = make_optimizer(wanted, one), make_optimizer(wanted, two)
    monkeypatch.undo()
    gradients = torch.randn(3, 64, 128)

    def step(network: nn.Linear, stepper: torch.optim.Optimizer, number: int) -> None:
        network.weight.grad = gradients[number].clone()
        network.bias.grad = gradients[number, :, 0].clone()
        stepper.step()

    step(one, first, 0)
    step(one, first, 1)
    through_a_checkpoint(tmp_path, TrainingState(one, first), TrainingState(two, second))
    step(one, first, 2)
    step(two, second, 2)
    assert torch.equal(one.weight, two.weight) and torch.equal(one.bias, two.bias)


def test_adamw_takes_all_parameters_at_once() -> None:
    torch.manual_seed(0)
    ours, theirs = tiny_transformer(), tiny_transformer()
    theirs.load_state_dict(ours.state_dict())
    wanted = OptimizerRecipe(learning_rate=1e-3)
    own = make_optimizer(wanted, ours)
    assert own.defaults["fused"] is True
    plain = torch.optim.AdamW(
        theirs.parameters(), lr=1e-3, betas=wanted.betas, weight_decay=wanted.weight_decay
    )
    for one, two in zip(ours.parameters(), theirs.parameters(), strict=True):
        one.grad = torch.randn_like(one)
        two.grad = one.grad.clone()
    own.step()
    plain.step()
    for one, two in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(one, two, rtol=1e-6, atol=1e-7)


# -- validation images -----------------------------------------------------------------------------


def test_validation_images_of_every_family_with_offloaded_weights(
    model: Path, recipe: Make, tmp_path: Path
) -> None:
    wanted = recipe(
        model=str(model),
        resolution=64,
        validation={"prompts": ["a cat"], "width": 64, "height": 64, "sampling_steps": 1},
    )
    family = family_of(model)
    encode_prompts(wanted, family, model, CPU)
    images = Preview(wanted, family, model, CPU)
    transformer = family.load_transformer(model, dtype=torch.float32)
    (expected,) = images(transformer, None)
    (found,) = images(Offloaded(transformer), None)
    assert found.tobytes() == expected.tobytes()


@pytest.mark.parametrize(("device", "dtype"), [("cuda", torch.bfloat16), ("cpu", torch.float32)])
def test_validation_prompts_are_encoded_as_captions_are(
    recipe: Make,
    tiny_model: Path,
    monkeypatch: pytest.MonkeyPatch,
    device: str,
    dtype: torch.dtype,
) -> None:
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: True)
    family, asked = family_of(tiny_model), []
    load = type(family).load_text_encoders

    def noting(self: Any, model: Path, *, dtype: torch.dtype) -> Any:
        asked.append(dtype)
        encoders = load(self, model, dtype=torch.float32)
        monkeypatch.setattr(encoders, "to", lambda _: encoders)
        return encoders

    monkeypatch.setattr(type(family), "load_text_encoders", noting)
    wanted = recipe(validation={"prompts": ["a cat"]})
    for _ in range(2):
        encode_prompts(wanted, family, tiny_model, torch.device(device))
    assert asked == [dtype]
    # Another model in its place encodes them anew.
    monkeypatch.setattr(preview, "fingerprint", lambda _: "another")
    encode_prompts(wanted, family, tiny_model, torch.device(device))
    assert asked == [dtype, dtype]
