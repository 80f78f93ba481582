"""Training adapters: only they change, nothing is lost, and stock diffusers loads them."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from diffusers import SD3Transformer2DModel, StableDiffusion3Pipeline
from pydantic import ValidationError
from safetensors.torch import load_file
from torch.func import functional_call

from diffusion4k.errors import Diffusion4kError, UsageError
from diffusion4k.families.sd3 import StableDiffusion3
from diffusion4k.interchange.export import export_part
from diffusion4k.lora import FILE_NAME, add_adapter, merge_adapter, read_adapter, write_adapter
from diffusion4k.training import run
from diffusion4k.training.check import check_recipe
from diffusion4k.training.checkpoint.sharded import whole_tensors
from diffusion4k.training.engine.network import load_network
from diffusion4k.training.loop import train
from diffusion4k.training.recipe.recipe import Recipe
from diffusion4k.vae import PartitionedAutoencoderKL
from tests.lora.reference import Case
from tests.lora.writers import kohya_flux, kohya_sd3, lycoris_lokr
from tests.training.reference import loss_of_one_step

Make = Callable[..., Recipe]
LORA = {"rank": 4, "alpha": 8}


def _adapters(folder: Path) -> dict[str, torch.Tensor]:
    weights = load_file(folder / FILE_NAME)
    return {name.removeprefix("transformer."): weight for name, weight in weights.items()}


def test_a_step_is_that_of_autograd_through_w_plus_ba(recipe: Make) -> None:
    wanted = recipe(
        steps=1, lora=LORA, clip_norm=None, optimizer={"learning_rate": 1e-3, "weight_decay": 0}
    )
    trained = _adapters(train(wanted))
    model = SD3Transformer2DModel.from_pretrained(wanted.model, subfolder="transformer")
    weights = dict(model.named_parameters())
    layers = sorted({name.split(".lora_")[0] for name in trained})
    b = {n: torch.zeros_like(trained[f"{n}.lora_B.weight"], requires_grad=True) for n in layers}
    for name in layers:
        # A gets no gradient while B is zero: what is saved is what it was.
        product = b[name] @ trained[f"{name}.lora_A.weight"]
        weights[f"{name}.weight"] = weights[f"{name}.weight"].detach() + 8 / 4 * product
    loss_of_one_step(
        wanted, lambda **inputs: functional_call(model, weights, (), inputs)
    ).backward()
    wrong = total = 0
    for name in layers:
        gradient = b[name].grad.double()
        expected = -1e-3 * gradient / (gradient.abs() + wanted.optimizer.eps)
        found = trained[f"{name}.lora_B.weight"] / (8 / 4)  # alpha / rank is in the file's B
        wrong += ((found - expected).abs() > 1e-6).sum().item()
        total += expected.numel()
    # Where a gradient is rounding noise, so is the sign that Adam's first step takes.
    assert wrong <= 1e-3 * total
    # Attention and MLP: four projections of each stream but the last block's, and the MLPs.
    assert len(layers) == 2 * 4 + 2 * 3 + 1 + 2 * 2 + 2


def test_a_resumed_run_ends_with_the_same_bits(recipe: Make, tmp_path: Path) -> None:
    keys = {"lora": LORA, "ema": 0.9, "validation": {"every": 2, "samples": 3}}
    whole = train(recipe(**keys, output=str(tmp_path / "whole")))
    train(recipe(**keys, steps=3))
    resumed = train(recipe(**keys))
    one, other = read_adapter(whole), read_adapter(resumed)
    assert all(torch.equal(tensor, other.tensors[name]) for name, tensor in one.tensors.items())
    assert one.fingerprint == other.fingerprint
    assert (whole.parent / "loss.csv").read_bytes() == (resumed.parent / "loss.csv").read_bytes()
    # The first half validated at its own end, too.
    rows = [(run.parent / "validation.csv").read_text().split()[-1] for run in (whole, resumed)]
    assert rows[0] == rows[1]
    last = "checkpoints/step-000006"
    first, second = (whole_tensors(run.parent / last) for run in (whole, resumed))
    assert first.keys() == second.keys() and all("lora_" in name for name in first)
    assert all(torch.equal(value, second[name]) for name, value in first.items())
    average = [
        value.sum() * (2 if "lora_B" in name else 1)  # alpha / rank is in the file's B
        for name, value in first.items()
        if name.startswith("average/")
    ]
    assert sorted(average) == sorted(value.sum() for value in _adapters(whole).values())


@pytest.fixture(scope="module")
def begun(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> list[Path]:
    """Two LoRAs to begin with."""
    folders = [tmp_path_factory.mktemp("begun") / name for name in "ab"]
    for seed, folder in enumerate(folders):
        network = SD3Transformer2DModel.from_pretrained(tiny_model, subfolder="transformer")
        add_adapter(network, rank=2, alpha=2, targets=["to_q", "to_v"], seed=seed)
        with torch.no_grad():
            for parameter in network.parameters():
                if parameter.requires_grad:
                    parameter.add_(0.01)
        write_adapter(folder, network, {"family": "sd3", "base_model": "tiny"})
    return folders


@pytest.mark.parametrize("kind", ["dora", "lokr", "lora from two"])
def test_each_kind_resumes_with_the_same_bits(
    recipe: Make, tmp_path: Path, begun: list[Path], kind: str
) -> None:
    lora = {**LORA, "kind": kind.split()[0], "rank_pattern": {"to_q": 3}}
    if "from" in kind:
        lora["start"] = [str(begun[0]), {"file": str(begun[1]), "scale": 0.5}]
    keys = {"lora": lora, "optimizer": {"learning_rate": 1e-3}}
    whole = train(recipe(**keys, output=str(tmp_path / "whole")))
    train(recipe(**keys, steps=3))
    resumed = train(recipe(**keys))
    one, other = (load_file(folder / FILE_NAME) for folder in (whole, resumed))
    assert one.keys() == other.keys()
    assert all(torch.equal(weight, other[name]) for name, weight in one.items())
    assert read_adapter(whole).fingerprint == read_adapter(resumed).fingerprint
    assert (whole.parent / "loss.csv").read_bytes() == (resumed.parent / "loss.csv").read_bytes()


def test_what_cannot_be_trained_is_refused(recipe: Make, begun: list[Path]) -> None:
    with pytest.raises(ValidationError, match="found with kind=lokr, allowed with lora and dora"):
        recipe(lora={"kind": "lokr", "weights": "nf4"})
    wanted = recipe(lora={"kind": "lokr", "start": str(begun[0])})
    with pytest.raises(UsageError, match=r"lora\.start: found with kind=lokr"):
        train(wanted)
    with pytest.raises(UsageError, match="no such file"):
        train(recipe(lora={"start": "nowhere"}))


def test_a_run_from_one_file_is_that_from_the_folder(
    recipe: Make, tmp_path: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    file = export_part(tiny_model, tmp_path / "one.safetensors")
    file.with_suffix(".json").write_text(json.dumps({"parts_from": str(tiny_model)}))
    keys = {"steps": 2, "lora": LORA}
    whole = train(recipe(**keys, output=str(tmp_path / "whole")))
    train(recipe(**{**keys, "steps": 1}, model=str(file)))
    other = train(recipe(**keys, model=str(file)))
    found, wanted = _adapters(other), _adapters(whole)
    assert all(torch.equal(value, found[name]) for name, value in wanted.items())


def test_base_weights_stay_as_they_were(recipe: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    networks = []
    load_network = run.load_network
    monkeypatch.setattr(
        run, "load_network", lambda *args: networks.append(load_network(*args)) or networks[0]
    )
    wanted = recipe(lora=LORA, ema=0.5)
    train(wanted)
    base = SD3Transformer2DModel.from_pretrained(wanted.model, subfolder="transformer")
    now = {
        name.replace(".base_layer", ""): value
        for name, value in networks[0].state_dict().items()
        if ".lora_" not in name
    }
    assert base.state_dict().keys() == now.keys()
    assert all(torch.equal(value, now[name]) for name, value in base.state_dict().items())


def test_stock_diffusers_loads_what_was_trained(recipe: Make) -> None:
    """The validation loss of the trained network is that of a stock pipeline with its adapters."""
    wanted = recipe(lora=LORA, optimizer={"learning_rate": 1e-2})
    folder = train(wanted)
    stock = StableDiffusion3Pipeline.from_pretrained(
        wanted.model, text_encoder_3=None, tokenizer_3=None
    )
    stock.vae = PartitionedAutoencoderKL.from_autoencoder(stock.vae)
    before = loss_of_one_step(wanted, stock.transformer).item()
    stock.load_lora_weights(folder)
    (config,) = stock.transformer.peft_config.values()
    assert (config.r, config.lora_alpha) == (4, 4)  # B holds the factor of two
    assert loss_of_one_step(wanted, stock.transformer).item() < 0.95 * before
    adapter = read_adapter(folder)
    assert adapter.made_for["family"] == "sd3"
    assert adapter.made_for["base_model"] == wanted.model
    assert "load_lora_weights" in (folder / "README.md").read_text()


def test_frozen_weights_take_the_precision_of_the_computations(
    recipe: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []
    load = StableDiffusion3.load_transformer
    monkeypatch.setattr(
        StableDiffusion3,
        "load_transformer",
        lambda *args, dtype, **keys: asked.append(dtype) or load(*args, dtype=dtype, **keys),
    )
    folder = train(recipe(lora=LORA, precision="bf16", steps=2))
    assert asked == [torch.bfloat16]
    adapters = _adapters(folder)
    assert {value.dtype for value in adapters.values()} == {torch.float32}
    assert any(value.any() for name, value in adapters.items() if "lora_B" in name)


def test_frozen_weights_in_eight_bits(recipe: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    eight = LORA | {"weights": "int8"}
    with monkeypatch.context() as missing:
        missing.setattr("importlib.util.find_spec", lambda name: None)
        with pytest.raises(Diffusion4kError, match="pip install torchao"):
            train(recipe(lora=eight))
    pytest.importorskip("torchao")
    rounded = _adapters(train(recipe(lora=eight, steps=2)))
    whole = _adapters(train(recipe(lora=LORA, steps=2, output=f"{recipe().output}-whole")))
    ours, expected = (torch.cat([w.flatten() for w in a.values()]) for a in (rounded, whole))
    similarity = torch.nn.functional.cosine_similarity(ours, expected, dim=0)
    assert 0.99 < similarity < 1 - 1e-6


def test_targets_of_one_s_own(recipe: Make, tiny_model: Path) -> None:
    trained = _adapters(train(recipe(lora=LORA | {"targets": ["attn.to_q"]}, steps=1)))
    assert {name.split(".lora_")[0].split(".", 2)[2] for name in trained} == {"attn.to_q"}
    with pytest.raises(UsageError, match=r"'to_nowhere'; there are.*attn\.to_q") as error:
        wanted = recipe(lora={"targets": ["attn.to_q", "to_nowhere"]})
        check_recipe(wanted, StableDiffusion3(), tiny_model)
    assert "\n" not in str(error.value)


def test_another_rank_is_another_run(recipe: Make) -> None:
    train(recipe(lora=LORA, steps=1))
    with pytest.raises(UsageError, match=r"lora\.rank \(4 -> 2\)"):
        train(recipe(lora=LORA | {"rank": 2}, steps=2))


def test_a_start_changes_each_weight_as_the_file_does(recipe: Make, tmp_path: Path) -> None:
    """Before the first step; whatever the file's layout, rank and alpha, and from a run of ours."""
    torch.manual_seed(0)
    source = kohya_sd3()
    names = ("x_block_attn_qkv", "x_block_mlp_fc1", "context_block_attn_qkv")
    source.tensors = {k: v for k, v in source.tensors.items() if any(n in k for n in names)}
    start = source.write(tmp_path)
    wanted = recipe(lora={"rank": 8, "alpha": 2, "start": str(start)})
    check_recipe(wanted, StableDiffusion3(), Path(wanted.model))
    network = load_network(wanted, StableDiffusion3(), Path(wanted.model), torch.device("cpu"))
    merge_adapter(network)
    base = SD3Transformer2DModel.from_pretrained(wanted.model, subfolder="transformer")
    changed = 0
    for name, weight in base.state_dict().items():
        kept = ("to_q", "to_k", "to_v", "_proj.weight", "ff.net.0")
        delta = source.deltas.get(name) if any(part in name for part in kept) else None
        expected = weight if delta is None else weight + delta
        difference = (network.state_dict()[name] - expected).abs().max()
        assert difference <= 1e-6 * expected.abs().max(), name
        changed += not torch.equal(weight, network.state_dict()[name])
    assert changed == 3 + 3 + 1


def test_a_run_that_starts_from_another_resumes_exactly(recipe: Make, tmp_path: Path) -> None:
    first = train(recipe(lora=LORA, output=str(tmp_path / "first")))
    start = {**LORA, "alpha": 16, "start": str(first)}
    whole = train(recipe(lora=start, output=str(tmp_path / "whole")))
    train(recipe(lora=start, steps=3))
    resumed = train(recipe(lora=start))
    one, other = read_adapter(whole), read_adapter(resumed)
    assert one.fingerprint == other.fingerprint != read_adapter(first).fingerprint
    train(recipe(lora=LORA, output=str(first.parent), steps=7), changed_inputs=True)
    with pytest.raises(UsageError, match=r"lora\.start\[0\]: other weights than at step"):
        train(recipe(lora=start, steps=7))


def test_starts_that_cannot_be_taken_up(recipe: Make, tmp_path: Path) -> None:
    def refused(case: Case, **lora: object) -> str:
        wanted = recipe(lora={**LORA, **lora, "start": str(case.write(tmp_path))})
        with pytest.raises(Diffusion4kError) as error:
            check_recipe(wanted, StableDiffusion3(), Path(wanted.model))
        return str(error.value)

    assert "has layers of flux" in refused(kohya_flux())
    assert "LoKr, with which no lora can begin: merge it" in refused(lycoris_lokr())
