"""New adapters of each kind: what they begin with, what they change, and what is refused."""

from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import SD3Transformer2DModel
from torch import Tensor, nn

from benchmarks.tiny import tiny_transformer
from diffusion4k.errors import Diffusion4kError, UsageError
from diffusion4k.lora import (
    Adapter,
    add_adapter,
    check_adapter_options,
    load_adapter,
    merge_adapter,
    read_adapter,
    write_adapter,
)

KINDS = ("lora", "dora", "lokr")
MADE_FOR = {"family": "sd3", "base_model": "tiny"}
TARGETS = ["to_q", "to_k", "ff.net.2"]
OPTIONS: dict[str, Any] = {"rank": 2, "alpha": 4, "targets": TARGETS, "seed": 0}


@pytest.fixture
def transformer() -> SD3Transformer2DModel:
    torch.manual_seed(3)
    return tiny_transformer()


def _inputs() -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(1)

    def drawn(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator)

    return {
        "hidden_states": drawn(1, 16, 8, 8),
        "encoder_hidden_states": drawn(1, 5, 64),
        "pooled_projections": drawn(1, 32),
        "timestep": torch.tensor([500.0]),
    }


@torch.no_grad()
def _output(network: nn.Module) -> Tensor:
    return network.eval()(**_inputs(), return_dict=False)[0]


def _trained(network: nn.Module, seed: int = 5) -> nn.Module:
    """The network with adapters as after a training that moved all of them."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.requires_grad:
                parameter.add_(0.05 * torch.randn(parameter.shape, generator=generator))
    return network


def _file(folder: Path, seed: int, **options: Any) -> Adapter:
    torch.manual_seed(3)
    network = tiny_transformer()
    add_adapter(network, **{**OPTIONS, **options})
    return read_adapter(write_adapter(folder, _trained(network, seed), MADE_FOR))


@pytest.mark.parametrize("kind", KINDS)
def test_a_new_one_changes_nothing_and_a_trained_one_is_read_again(
    transformer: SD3Transformer2DModel, tmp_path: Path, kind: Any
) -> None:
    before = _output(transformer)
    add_adapter(transformer, **OPTIONS, kind=kind)
    assert torch.allclose(_output(transformer), before, atol=1e-6)
    trained = [name for name, p in transformer.named_parameters() if p.requires_grad]
    assert all(("lokr_" if kind == "lokr" else "lora_") in name for name in trained)
    assert any("magnitude" in name for name in trained) == (kind == "dora")
    after = _output(_trained(transformer))
    assert (after - before).abs().max() > 1e-2
    file = write_adapter(tmp_path, transformer, MADE_FOR)
    torch.manual_seed(3)
    again = tiny_transformer()
    adapter = read_adapter(file)
    assert adapter.made_for["family"] == "sd3"
    names = {"lora": "LoRA", "dora": "DoRA", "lokr": "LoKr"}
    assert {change.kind for change in adapter.changes.values()} == {names[kind]}
    load_adapter(again, adapter)
    assert torch.allclose(_output(again), after, atol=1e-5)
    merge_adapter(again)
    assert torch.allclose(_output(again), after, atol=1e-5)


@pytest.mark.parametrize("kind", ["lora", "dora"])
def test_stock_diffusers_loads_it(
    transformer: SD3Transformer2DModel, tmp_path: Path, kind: Any
) -> None:
    add_adapter(transformer, **OPTIONS, kind=kind, rank_pattern={"to_q": 3})
    after = _output(_trained(transformer))
    file = write_adapter(tmp_path, transformer, MADE_FOR)
    torch.manual_seed(3)
    stock = tiny_transformer()
    stock.load_lora_adapter(tmp_path, weight_name=file.name, prefix="transformer")
    assert torch.allclose(_output(stock), after, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_ranks_and_alphas_by_pattern(
    transformer: SD3Transformer2DModel, tmp_path: Path, kind: Any
) -> None:
    patterns = {"rank_pattern": {"to_q": 3, r"transformer_blocks\.1\.attn\.to_k": 5}}
    add_adapter(transformer, **OPTIONS, kind=kind, **patterns, alpha_pattern={"to_q": 9.0})
    layer: Any = transformer.transformer_blocks[1].attn
    found = [layer.to_q, layer.to_k, transformer.transformer_blocks[0].attn.to_k]
    assert [each.r["default"] for each in found] == [3, 5, 2]
    assert [each.scaling["default"] for each in found] == [9 / 3, 4 / 5, 4 / 2]
    after = _output(_trained(transformer))
    torch.manual_seed(3)
    again = tiny_transformer()
    load_adapter(again, read_adapter(write_adapter(tmp_path, transformer, MADE_FOR)))
    assert torch.allclose(_output(again), after, atol=1e-5)


@pytest.mark.parametrize("kind", ["lora", "dora"])
def test_what_begins_with_several_begins_with_their_sum(tmp_path: Path, kind: Any) -> None:
    first = _file(tmp_path / "a", 1)
    second = _file(tmp_path / "b", 2, rank=3, targets=["to_q", "add_v_proj"])
    torch.manual_seed(3)
    expected = tiny_transformer()
    weights = dict(expected.named_parameters())
    with torch.no_grad():
        for adapter, scale in ((first, 1.0), (second, -0.5)):
            for name, change in adapter.changes.items():
                weights[name].add_(scale * change.delta())
    torch.manual_seed(3)
    begun = tiny_transformer()
    start = [(first, 1.0), (second, -0.5)]
    add_adapter(begun, **{**OPTIONS, "rank": 4}, kind=kind, start=start)
    assert torch.allclose(_output(begun), _output(expected), atol=1e-5)
    block: Any = begun.transformer_blocks[0]
    ranks = [block.attn.to_q, block.attn.to_k, block.attn.add_v_proj]
    assert [each.r["default"] for each in ranks] == [5, 4, 4]
    assert {each.scaling["default"] for each in ranks} == {1.0}
    # What a layer's rank leaves over is new, and trained from nothing.
    assert block.attn.to_k.lora_A["default"].weight[2:].abs().min() > 0
    assert not block.attn.to_k.lora_B["default"].weight[:, 2:].any()


def test_dora_begins_with_dora(tmp_path: Path) -> None:
    file = _file(tmp_path / "a", 1, kind="dora")
    torch.manual_seed(3)
    expected = tiny_transformer()
    load_adapter(expected, file)
    torch.manual_seed(3)
    begun = tiny_transformer()
    add_adapter(begun, **OPTIONS, kind="dora", start=[(file, 1.0)])
    assert torch.allclose(_output(begun), _output(expected), atol=1e-5)


def test_what_is_refused(transformer: SD3Transformer2DModel, tmp_path: Path) -> None:
    usual: dict[str, Any] = {
        "kind": "lora",
        "targets": TARGETS,
        "rank_pattern": {},
        "alpha_pattern": {},
        "start": [],
    }

    def check(**options: Any) -> None:
        check_adapter_options(transformer, **{**usual, **options})

    check(rank_pattern={"to_q": 8})
    with pytest.raises(UsageError, match=r"lora\.rank_pattern: no adapted layer's .* 'to_v'"):
        check(rank_pattern={"to_v": 8})
    with pytest.raises(UsageError, match=r"lora\.alpha_pattern: '\(' is no pattern"):
        check(alpha_pattern={"(": 8.0})
    lora, dora = _file(tmp_path / "a", 1), _file(tmp_path / "b", 1, kind="dora")
    lokr = _file(tmp_path / "c", 1, kind="lokr")
    check(start=[(lora, 0.5), (lora, 1.0)])
    check(kind="dora", start=[(dora, 1.0)])
    with pytest.raises(UsageError, match=r"lora\.start: found with kind=lokr"):
        check(kind="lokr", start=[(lora, 1.0)])
    with pytest.raises(Diffusion4kError, match=r"to_k\.weight: LoKr, with which no lora can begin"):
        check(start=[(lokr, 1.0)])
    for options in (
        {"start": [(dora, 1.0)]},
        {"kind": "dora", "start": [(dora, 0.5)]},
        {"kind": "dora", "start": [(dora, 1.0), (lora, 1.0)]},
    ):
        with pytest.raises(Diffusion4kError, match="only kind=dora can begin"):
            check(**options)
