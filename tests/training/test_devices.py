"""What only a GPU or several processes do, walked without them: by torch's own rules for shapes and
devices, by stand-ins, and by one process that believes it is one of eight."""

import copy
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from accelerate.state import AcceleratorState, GradientState
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import DTensor, Shard, distribute_tensor

from benchmarks.tiny import tiny_transformer
from diffusion4k.errors import UsageError
from diffusion4k.families import families, family_of
from diffusion4k.models.positions import replace_rotary
from diffusion4k.models.published import build_published
from diffusion4k.training.check import check_recipe
from diffusion4k.training.checkpoint.checkpoint import Retention
from diffusion4k.training.checkpoint.sharded import CheckpointWriter, TrainingState, whole_tensors
from diffusion4k.training.engine import engine as engine_module
from diffusion4k.training.engine import float8
from diffusion4k.training.engine.context_parallel import divide_context
from diffusion4k.training.engine.engine import Engine
from diffusion4k.training.engine.optimizers import of_whole, orthogonal
from diffusion4k.training.loop import train
from diffusion4k.training.preview import Preview, encode_prompts
from diffusion4k.training.recipe.build import chosen_engine
from diffusion4k.training.recipe.recipe import Recipe
from diffusion4k.training.watch.curve import Curve
from tests.families.parts import tiny_flux_transformer

Make = Callable[..., Recipe]
CPU = torch.device("cpu")


@pytest.fixture
def group() -> Iterator[None]:
    """Whatever process group the test makes is gone after it."""
    yield
    if dist.is_initialized():
        dist.destroy_process_group()
    AcceleratorState._reset_state(True)
    GradientState._reset_state()


# -- offload ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(("wanted", "name"), [("auto", "fsdp2"), ("deepspeed", "deepspeed")])
def test_one_process_offloads_on_a_machine_with_a_gpu(
    group: None, monkeypatch: pytest.MonkeyPatch, wanted: str, name: str
) -> None:
    asked = []
    monkeypatch.setattr(engine_module, "_has_gpu", lambda: True)
    monkeypatch.setattr(dist, "init_process_group", lambda *args, **_: asked.append(args))
    monkeypatch.delenv("LOCAL_RANK", raising=False)
    engine = Engine(wanted, offload=True)
    assert (engine.name, engine.world, asked) == (name, 1, [("cpu:gloo,cuda:nccl",)])


def test_a_run_that_offloads_in_one_process_is_the_same_run(
    group: None, recipe: Make, tmp_path: Path
) -> None:
    losses = []
    for offload in (False, True):
        wanted = recipe(
            steps=3,
            offload=offload,
            output=str(tmp_path / str(offload)),
            validation={"every": 3, "samples": 2, "prompts": ["a cat"], "width": 64, "height": 64},
        )
        train(wanted)
        assert dist.is_initialized() == offload
        assert len(whole_tensors(wanted.output / "checkpoints" / "step-000003")) > 10
        losses.append([float(row["loss"]) for row in Curve.read(wanted.output / "loss.csv")])
    torch.testing.assert_close(*map(torch.tensor, losses), rtol=1e-5, atol=0)


class Offloaded(nn.Module):
    """A transformer as FSDP2 leaves it with offload: its weights are somewhere else than it
    computes, to which its own hooks bring inputs and weights."""

    def __init__(self, transformer: Any) -> None:
        super().__init__()
        self.away = nn.Parameter(torch.empty(1, device="meta"))
        self.__dict__["inner"] = transformer  # no child: nobody may move it
        self.config, self.dtype = transformer.config, transformer.dtype

    @property
    def device(self) -> torch.device:
        return self.away.device

    def __getattr__(self, name: str) -> Any:
        inner = self.__dict__.get("inner")
        return (
            super().__getattr__(name) if inner is None or name == "away" else getattr(inner, name)
        )

    def forward(self, *inputs: Any, **named: Any) -> Any:
        tensors = [*inputs, *named.values()]
        assert all(t.device == CPU for t in tensors if isinstance(t, Tensor))
        return self.__dict__["inner"](*inputs, **named)


def test_validation_images_with_weights_that_are_offloaded(recipe: Make, tiny_model: Path) -> None:
    wanted = recipe(
        validation={"prompts": ["a cat"], "width": 64, "height": 64, "sampling_steps": 2}
    )
    family = family_of(tiny_model)
    encode_prompts(wanted, family, tiny_model, CPU)
    preview = Preview(wanted, family, tiny_model, CPU)
    transformer = family.load_transformer(tiny_model, dtype=torch.float32)
    (expected,) = preview(transformer, None)
    (found,) = preview(Offloaded(transformer), None)
    assert found.tobytes() == expected.tobytes()


def test_muon_updates_the_share_where_it_is(group: None, monkeypatch: pytest.MonkeyPatch) -> None:
    from torch.testing._internal.distributed.fake_pg import FakeStore

    torch.manual_seed(0)
    for rows, rank in ((20, 3), (20, 7), (3, 5)):  # of eight processes some have nothing
        dist.init_process_group("fake", store=FakeStore(), rank=rank, world_size=8)
        mesh = init_device_mesh("cpu", (8,))
        whole = torch.randn(rows, 6)
        share = distribute_tensor(whole, mesh, [Shard(0)], src_data_rank=None)
        monkeypatch.setattr(DTensor, "full_tensor", lambda _, whole=whole: whole)
        # By torch's rule it would bring the share to the mesh's device, a GPU.
        monkeypatch.setattr(DTensor, "from_local", None)
        expected = distribute_tensor(orthogonal(whole), mesh, [Shard(0)], src_data_rank=None)
        found = of_whole(orthogonal, share)
        assert torch.equal(found, expected.to_local()) and type(found) is Tensor
        dist.destroy_process_group()


# -- fsdp2 -----------------------------------------------------------------------------------------


def test_timesteps_and_positions_stay_float32_in_shares(group: None) -> None:
    engine = Engine("fsdp2", offload=True)
    seen: dict[str, Tensor] = {}

    def note(name: str) -> Callable[..., None]:
        return lambda _, inputs: seen.__setitem__(name, inputs[0].detach().clone())

    sd3, flux = tiny_transformer().train(), tiny_flux_transformer().train()
    sd3.time_text_embed.register_forward_pre_hook(note("timestep"))
    flux.pos_embed.register_forward_pre_hook(note("positions"))
    timestep = torch.tensor([902.3, 513.7])
    positions = torch.tensor([[0.0, 0, 0], [0, 257, 301]])
    with torch.autocast("cpu", torch.bfloat16):
        engine.place(lambda: sd3, bfloat16=True)(
            hidden_states=torch.randn(2, 16, 8, 8),
            timestep=timestep,
            encoder_hidden_states=torch.randn(2, 5, 64),
            pooled_projections=torch.randn(2, 32),
        ).sample.mean().backward()
        engine.place(lambda: flux, bfloat16=True)(
            hidden_states=torch.randn(1, 2, 64),
            timestep=torch.tensor([0.9023]),
            guidance=torch.tensor([3.5]),
            encoder_hidden_states=torch.randn(1, 1, 64),
            pooled_projections=torch.randn(1, 16),
            txt_ids=torch.zeros(1, 3),
            img_ids=positions,
        ).sample.mean().backward()
    assert torch.equal(seen["timestep"], timestep)
    assert torch.equal(seen["positions"][1:], positions)


def test_scaled_positions_are_told_which_processes_share_a_picture(
    group: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    from torch.testing._internal.distributed.fake_pg import FakeStore

    network = tiny_flux_transformer()
    replace_rotary(network, method="yarn", trained_tokens=16, time_dependent=False)
    monkeypatch.setattr(type(network), "enable_parallelism", lambda *_, **__: None)
    dist.init_process_group("fake", store=FakeStore(), rank=5, world_size=8)
    divide_context(network, 2, 8, CPU)
    assert dist.get_process_group_ranks(network.pos_embed.group) == [4, 5]


# -- 8 bits ----------------------------------------------------------------------------------------


class Counting(torch.optim.Optimizer):
    """Momentum that counts its steps in a plain number, as the optimizers of bitsandbytes do."""

    def __init__(self, parameters: Any) -> None:
        super().__init__(parameters, {"lr": 0.1})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:
        for group in self.param_groups:
            for parameter in group["params"]:
                state = self.state[parameter]
                state.setdefault("step", 0)
                state.setdefault("mean", torch.zeros_like(parameter))
                state["step"] += 1
                state["mean"].lerp_(parameter.grad, 1 / state["step"])
                parameter.sub_(group["lr"] * state["mean"])


def through_a_checkpoint(folder: Path, saved: TrainingState, loaded: TrainingState) -> None:
    """Write one state as step 2 and read it into the other."""
    writer = CheckpointWriter(folder, Engine(), keep=Retention(1))
    writer.save(2, saved, {})
    writer.finish()
    writer.close()
    loaded.load(folder / "step-000002")


def test_numbers_that_an_optimizer_keeps_are_saved_and_come_back(tmp_path: Path) -> None:
    torch.manual_seed(0)
    gradients = torch.randn(3, 4, 6)
    one, two = nn.Linear(6, 4, bias=False), nn.Linear(6, 4, bias=False)
    first, second = Counting(one.parameters()), Counting(two.parameters())

    def step(module: nn.Linear, optimizer: Counting, number: int) -> None:
        module.weight.grad = gradients[number].clone()
        optimizer.step()

    step(one, first, 0)
    step(one, first, 1)
    through_a_checkpoint(tmp_path, TrainingState(one, first), TrainingState(two, second))
    (state,) = second.state.values()
    assert state["step"] == 2 and type(state["step"]) is int
    step(one, first, 2)
    step(two, second, 2)
    assert torch.equal(one.weight, two.weight)


def test_int8_is_trained_in_whole_copies(recipe: Make, tiny_model: Path) -> None:
    family = family_of(tiny_model)
    int8 = {"lora": {"rank": 2, "weights": "int8"}}
    assert chosen_engine(recipe(**int8)) == "ddp"
    assert chosen_engine(recipe(lora={"rank": 2, "weights": "nf4"})) == "fsdp2"
    assert chosen_engine(recipe()) == "fsdp2"
    for keys in ({"engine": "fsdp2"}, {"offload": True}):
        with pytest.raises(UsageError, match="int8"):
            check_recipe(recipe(**int8, **keys), family, tiny_model)


def test_frozen_weights_are_not_sent_around(group: None, monkeypatch: pytest.MonkeyPatch) -> None:
    class Unsendable(Tensor):
        """As torchao's: no views, no flattening."""

        @classmethod
        def __torch_function__(cls, function: Any, *args: Any) -> Any:
            name = getattr(function, "__name__", "")
            assert name not in ("view", "split", "broadcast", "flatten"), name
            return super().__torch_function__(function, *args)

    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    engine = Engine()
    engine.name = "ddp"
    network = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    network[0].weight = nn.Parameter(
        network[0].weight.detach().as_subclass(Unsendable), requires_grad=False
    )
    network[0].bias.requires_grad_(False)
    spread = engine.spread(network)
    assert spread.parameters_to_ignore == {"0.weight", "0.bias"}
    spread(torch.ones(1, 4)).mean().backward()
    assert network[1].weight.grad is not None


# -- fp8 -------------------------------------------------------------------------------------------

TEXT_TOKENS = 333  # of Stable Diffusion 3: not a multiple of anything
PUBLISHED = {
    family.name: checkpoint.hub_id
    for family in families().values()
    for checkpoint in family.checkpoints
}


def _product(rows: int, inner: int, columns: int) -> None:
    """A scaled product of float8 matrices as torch checks it on a GPU, without one.

    The inner side is filled up to a multiple of 16, as `pad_inner_dim` of torchao has it.
    """
    inner = -(-inner // 16) * 16
    with FakeTensorMode():
        one = torch.empty(rows, inner, device="cuda", dtype=torch.float8_e4m3fn)
        two = torch.empty(columns, inner, device="cuda", dtype=torch.float8_e4m3fn).t()
        scale = torch.empty((), device="cuda")
        torch._scaled_mm(one, two, scale, scale, out_dtype=torch.bfloat16)


def test_torch_s_rule_is_the_one_that_padding_is_for() -> None:
    with FakeTensorMode(), pytest.raises(RuntimeError, match="16"):
        one = torch.empty(64, 666, device="cuda", dtype=torch.float8_e4m3fn)
        two = torch.empty(64, 666, device="cuda", dtype=torch.float8_e4m3fn).t()
        scale = torch.empty((), device="cuda")
        torch._scaled_mm(one, two, scale, scale, out_dtype=torch.bfloat16)


@pytest.mark.parametrize("family", sorted(PUBLISHED))
def test_float8_products_of_every_family(family: str) -> None:
    network = build_published(PUBLISHED[family], "transformer")
    layers = float8.converted_layers(network)
    shapes = {(layer.in_features, layer.out_features) for layer in layers.values()}
    for columns, outputs in shapes:
        for batch in range(1, 5):
            rows = batch * TEXT_TOKENS
            _product(rows, columns, outputs)  # forward
            _product(rows, outputs, columns)  # gradient of the input
            _product(outputs, rows, columns)  # gradient of the weight
    # Most of the network is in them, and nothing that sees one row a picture.
    linears = [m for m in network.modules() if isinstance(m, nn.Linear)]
    in_float8 = sum(layer.weight.numel() for layer in layers.values())
    assert in_float8 > 0.55 * sum(layer.weight.numel() for layer in linears)
    assert not any("norm" in name or "adaLN" in name for name in layers)


def test_torchao_is_asked_to_pad(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys
    from types import SimpleNamespace

    asked: dict[str, Any] = {}
    fake = SimpleNamespace(
        Float8LinearConfig=lambda **keys: keys,
        convert_to_float8_training=lambda network, **keys: asked.update(keys, network=network),
    )
    monkeypatch.setattr(float8, "check_float8", lambda: None)
    monkeypatch.setitem(sys.modules, "torchao", SimpleNamespace(float8=fake))
    monkeypatch.setitem(sys.modules, "torchao.float8", fake)
    network = tiny_transformer()
    float8.to_float8(network)
    assert asked["config"] == {"pad_inner_dim": True}
    chosen = {n for n, m in network.named_modules() if asked["module_filter_fn"](m, n)}
    assert chosen == set(float8.converted_layers(copy.deepcopy(network)))
    assert "transformer_blocks.0.attn.to_q" in chosen
    assert "transformer_blocks.0.norm1.linear" not in chosen
