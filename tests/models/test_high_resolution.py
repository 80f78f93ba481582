"""Positions and attention beyond the training size, against brute force and stock diffusers."""

import json
import math
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from diffusers.models.embeddings import get_2d_sincos_pos_embed_from_grid
from diffusers.models.transformers.transformer_flux import FluxPosEmbed
from torch.nn.functional import scaled_dot_product_attention
from torch.overrides import TorchFunctionMode

from benchmarks.tiny import tiny_transformer
from diffusion4k.accounting.blueprint import Blueprint
from diffusion4k.accounting.machine import described_machine
from diffusion4k.errors import Diffusion4kError, UsageError
from diffusion4k.families import Family, family_of
from diffusion4k.models.attention import ChunkedAttention
from diffusion4k.models.high_resolution import HighResolution, given_options
from diffusion4k.models.positions import ScaledRotaryEmbedding, resize_table
from diffusion4k.planning.generation import GenerationSetup, plan_generation
from diffusion4k.sampling import Request, Sampler
from diffusion4k.sampling.options import SamplingOptions
from diffusion4k.training.loop import train
from diffusion4k.training.recipe.build import build_timesteps
from diffusion4k.training.recipe.recipe import Recipe
from tests.data.fake import make_folder
from tests.families.test_flux import tiny_flux
from tests.families.test_pixart import tiny_pixart
from tests.families.test_sana import tiny_sana
from tests.families.test_z_image import tiny_z_image


def _with(model: Path, folder: Path, **options: object) -> tuple[Path, Family]:
    """A copy of the model that states these options."""
    copy = Path(shutil.copytree(model, folder / "model"))
    (copy / "diffusion4k.json").write_text(json.dumps({"high_resolution": options}))
    return copy, family_of(copy)


@pytest.fixture(scope="module")
def flux(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_flux(tmp_path_factory.mktemp("flux") / "model")


def test_an_extended_table_goes_on_at_the_same_spacing() -> None:
    transformer = tiny_transformer()
    embed = transformer.pos_embed
    latents = torch.randn(1, 16, 20, 28)
    before, trained, width = embed(latents), embed.pos_embed_max_size, embed.pos_embed.shape[-1]
    resize_table(transformer, 81, interpolate=False)
    tokens = embed.pos_embed_max_size
    assert tokens == transformer.config.pos_embed_max_size == 82
    torch.testing.assert_close(embed(latents), before)
    # Stock positions, written out: column first, from -9 to 72 of 0 to 63.
    positions = (np.arange(tokens) - 9) * embed.base_size / trained
    grid = np.stack(np.meshgrid(positions, positions))
    expected = get_2d_sincos_pos_embed_from_grid(width, torch.tensor(grid), output_type="pt")
    torch.testing.assert_close(embed.pos_embed[0], expected.float(), rtol=0, atol=1e-5)


def test_an_interpolated_table_stays_within_what_was_trained() -> None:
    transformer = tiny_transformer()
    embed = transformer.pos_embed
    old = embed.pos_embed.reshape(64, 64, -1)
    resize_table(transformer, 127, interpolate=True)
    tokens = embed.pos_embed_max_size
    new = embed.pos_embed.reshape(tokens, tokens, -1)
    torch.testing.assert_close(new[0, 0], old[0, 0])
    torch.testing.assert_close(new[-1, -1], old[-1, -1], rtol=0, atol=1e-5)
    place = np.linspace(0, 63, tokens)[5]
    grid = np.full((2, 1, 1), place) * embed.base_size / 64
    expected = get_2d_sincos_pos_embed_from_grid(
        old.shape[-1], torch.tensor(grid), output_type="pt"
    )
    torch.testing.assert_close(new[5, 5], expected[0].float(), rtol=0, atol=1e-5)


def _published_table(tokens: int, width: int) -> torch.Tensor:
    """As in the files of Stable Diffusion 3 (192 positions) and 3.5 Medium (384): around the middle
    of the training size; arXiv 2403.03206, section 5.3.2."""
    positions = (np.arange(tokens) - (tokens - 64) / 2) * 16 / 64
    grid = np.stack(np.meshgrid(positions, positions))
    return get_2d_sincos_pos_embed_from_grid(width, torch.tensor(grid), output_type="pt")


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize(("trained", "more"), [(192, 256), (384, 388)])
def test_published_tables_are_continued(trained: int, more: int, dtype: torch.dtype) -> None:
    transformer = SimpleNamespace(register_to_config=lambda **_: None)
    stored = _published_table(trained, 64).to(dtype).float()
    for interpolate in (False, True):
        embed = SimpleNamespace(pos_embed_max_size=trained, pos_embed=stored[None])
        transformer.pos_embed = embed
        resize_table(transformer, more, interpolate=interpolate)
        if interpolate:
            old = stored.reshape(trained, trained, -1)
            new = embed.pos_embed.reshape(more, more, -1)
            ends = ([0, 0, -1, -1], [0, -1, 0, -1])
            torch.testing.assert_close(new[ends], old[ends], rtol=0, atol=0.01)
        else:
            expected = _published_table(more, 64).float()
            torch.testing.assert_close(embed.pos_embed[0], expected, rtol=0, atol=0.01)


def test_another_kind_of_table_is_refused() -> None:
    transformer = tiny_transformer()
    transformer.pos_embed.pos_embed.normal_()
    with pytest.raises(Diffusion4kError, match="not one of sine and cosine"):
        resize_table(transformer, 128, interpolate=False)


def test_sd3_samples_and_trains_beyond_its_table(tiny_model: Path, tmp_path: Path) -> None:
    model, family = _with(tiny_model, tmp_path, positions="extend", side=2304)
    assert family_of(tiny_model).max_side(tiny_model) == 2048
    assert family.max_side(model) == 2304
    sampler = Sampler(model)
    image = sampler.sample(sampler.settle(Request("a", width=2304, height=32, steps=1, guidance=0)))
    assert image.size == (2304, 32)
    photographs = make_folder(tmp_path / "photographs", [(64, 64)])
    keys = {"model": str(model), "data": str(photographs), "output": str(tmp_path / "run")}
    keys |= {"resolution": 64, "checkpoint": {"every": 1}, "validation": {"every": None}}
    train(Recipe.model_validate(keys | {"steps": 1}))
    result = train(Recipe.model_validate(keys | {"steps": 2}))
    config = json.loads((result / "transformer" / "config.json").read_text())
    assert config["pos_embed_max_size"] == 72
    assert Sampler(result).settle(Request("a", width=2304, height=32)).width == 2304


def _ids(rows: int, columns: int) -> torch.Tensor:
    grid = torch.cartesian_prod(torch.arange(rows), torch.arange(columns)).float()
    return torch.cat([torch.zeros(3, 3), torch.nn.functional.pad(grid, (1, 0))])


@pytest.mark.parametrize("method", ["ntk", "yarn"])
def test_rotary_embeddings_are_stock_up_to_the_training_size(method: str) -> None:
    stock = FluxPosEmbed(10000, [16, 56, 56])
    scaled = ScaledRotaryEmbedding(10000, [16, 56, 56], method=method, trained_tokens=64)
    ids = _ids(64, 48)
    for found, expected in zip(scaled(ids), stock(ids), strict=True):
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("method", ["ntk", "yarn"])
@pytest.mark.parametrize("strength", [1.0, 0.5])
def test_rotary_embeddings_beyond_it(method: str, strength: float) -> None:
    scaled = ScaledRotaryEmbedding(10000, [16, 56, 56], method=method, trained_tokens=64)
    scaled.strength = strength
    ids = _ids(256, 3)
    cosines, sines = scaled(ids)
    scale = (256 / 64) ** strength
    gain = 1 + 0.1 * math.log(scale) if method == "yarn" else 1
    for token in (0, 5, 700, len(ids) - 1):
        channel = 0
        for axis, width in enumerate((16, 56, 56)):
            s = scale if axis else 1.0
            for pair in range(width // 2):
                frequency = 10000 ** (-2 * pair / width)
                if method == "ntk":
                    frequency = (10000 * s ** (width / (width - 2))) ** (-2 * pair / width)
                else:
                    turns = 64 * frequency / (2 * math.pi)
                    kept = min(max((turns - 1) / 31, 0), 1)
                    frequency = kept * frequency + (1 - kept) * frequency / s
                angle = float(ids[token, axis]) * frequency
                for _ in range(2):
                    assert float(cosines[token, channel]) == pytest.approx(
                        gain * math.cos(angle), abs=1e-5
                    )
                    assert float(sines[token, channel]) == pytest.approx(
                        gain * math.sin(angle), abs=1e-5
                    )
                    channel += 1


@pytest.mark.parametrize("method", ["ntk", "yarn"])
def test_processes_that_share_a_picture_scale_alike(
    monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    # A picture higher than wide: the first process has its upper half.
    ids = _ids(48, 16)[3:]
    embedding = ScaledRotaryEmbedding(10000, [4, 4, 8], method=method, trained_tokens=16)
    whole = embedding(ids)

    def among_all(longest: torch.Tensor, *_: object, group: object) -> None:
        assert group == "both"
        longest.fill_(48)

    monkeypatch.setattr(torch.distributed, "all_reduce", among_all)
    embedding.group = "both"
    for part in range(2):
        for found, expected in zip(embedding(ids.chunk(2)[part]), whole, strict=True):
            torch.testing.assert_close(found, expected.chunk(2)[part])


def test_ntk_divides_the_lowest_frequency_and_keeps_the_highest() -> None:
    scaled = ScaledRotaryEmbedding(10000, [56], method="ntk", trained_tokens=64)
    plain, wide = scaled._frequencies(56, 1.0), scaled._frequencies(56, 4.0)
    assert wide[0] == plain[0]
    assert float(wide[-1] / plain[-1]) == pytest.approx(1 / 4)


def test_flux_follows_the_noise_level(flux: Path, tmp_path: Path) -> None:
    model, family = _with(flux, tmp_path, positions="ntk", trained_tokens=2, time_dependent=True)
    transformer = family.load_transformer(model, dtype=torch.float32)
    stock = family_of(flux).load_transformer(flux, dtype=torch.float32)
    noisy = torch.randn(1, 16, 16, 16)
    conditioning = {
        "prompt_embeds": torch.randn(1, 5, 64),
        "pooled_prompt_embeds": torch.randn(1, 16),
    }

    def both(sigma: float) -> tuple[torch.Tensor, torch.Tensor]:
        level = torch.tensor([sigma])
        with torch.no_grad():
            return (
                family.velocity(transformer, noisy, level, conditioning),
                family.velocity(stock, noisy, level, conditioning),
            )

    torch.testing.assert_close(*both(0.0))
    assert transformer.pos_embed.strength == 0
    scaled, plain = both(1.0)
    assert transformer.pos_embed.strength == 2
    assert not torch.allclose(scaled, plain)
    batch = {name: value.expand(2, *value.shape[1:]) for name, value in conditioning.items()}
    with pytest.raises(Diffusion4kError, match="different noise levels"):
        family.velocity(transformer, noisy.expand(2, -1, -1, -1), torch.tensor([0.1, 0.2]), batch)


class Calls(TorchFunctionMode):
    """Notes how many queries each call of attention has."""

    def __init__(self) -> None:
        super().__init__()
        self.queries: list[int] = []

    def __torch_function__(self, function, types, args=(), kwargs=None):
        if function is scaled_dot_product_attention:
            self.queries.append((args[0] if args else kwargs["query"]).shape[-2])
        return function(*args, **(kwargs or {}))


@pytest.mark.parametrize("masked", [None, "keys", "all"])
def test_chunked_attention_is_attention(masked: str | None) -> None:
    query, key, value = torch.randn(2, 3, 50, 8), torch.randn(2, 3, 70, 8), torch.randn(2, 3, 70, 8)
    shapes = {"keys": (2, 1, 1, 70), "all": (2, 3, 50, 70)}
    mask = torch.rand(shapes[masked]) > 0.3 if masked else None
    scores = query @ key.transpose(-1, -2) / math.sqrt(8)
    if mask is not None:
        scores = scores.masked_fill(~mask, -math.inf)
    expected = scores.softmax(dim=-1) @ value
    with torch.no_grad(), Calls() as calls, ChunkedAttention(16):
        found = scaled_dot_product_attention(query, key, value, attn_mask=mask)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    assert calls.queries == [16, 16, 16, 2]


@pytest.mark.parametrize("build", [tiny_flux, tiny_pixart, tiny_sana])
def test_chunks_give_the_same_image(build, tmp_path: Path) -> None:
    plain = build(tmp_path / "plain")
    model, _ = _with(plain, tmp_path, attention_chunk=5)
    latents, queries = [], []
    for each in (plain, model):
        sampler = Sampler(each)
        settings = sampler.settle(Request("a", width=256, height=192, steps=2, guidance=2))
        sampler.encode_for([settings])
        with Calls() as calls:
            latents.append(sampler.denoise(settings))
        queries.append(max(calls.queries))
    torch.testing.assert_close(*latents, rtol=1e-4, atol=1e-4)
    assert queries[0] > 5 >= queries[1]


def test_the_shift_is_that_of_sampling(flux: Path, tiny_model: Path, tmp_path: Path) -> None:
    pixart, sana = tiny_pixart(tmp_path / "pixart"), tiny_sana(tmp_path / "sana")
    assert family_of(tiny_model).timestep_shift(tiny_model, 1024) == 3.0
    assert family_of(sana).timestep_shift(sana, 1024) == 3.0
    assert family_of(pixart).timestep_shift(pixart, 1024) == 1.0
    family = family_of(flux)
    sampler = Sampler(flux)
    sampler.denoise(sampler.settle(Request("a", width=640, height=384, steps=4)))
    sigmas = sampler.pipeline.scheduler.sigmas[1:4].double()
    plain = torch.tensor([0.75, 0.5, 0.25], dtype=torch.float64)
    shift = family.timestep_shift(flux, 20 * 12)
    torch.testing.assert_close(sigmas, shift * plain / (1 + (shift - 1) * plain), rtol=1e-5, atol=0)
    keys = {"model": str(flux), "data": "pocket", "output": "run", "steps": 1}
    recipe = Recipe.model_validate(
        keys | {"resolution": 384, "crop": [640, 384], "timesteps": {"shift": "auto"}}
    )
    assert build_timesteps(recipe, family, flux).shift == pytest.approx(shift)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"positions": "yarn"}, "found 'yarn', allowed in sd3 models: extend, interpolate"),
        ({"rope": "yarn"}, "rope: unknown key .allowed: positions, side, trained_"),
        (
            {"attention_chunk": 0},
            "attention_chunk: found 0, allowed a number of at least 1",
        ),
        ({"time_dependent": 1}, "time_dependent: found 1, allowed true or false"),
        ({"time_dependent": True}, "time_dependent: has no effect without positions ntk or yarn"),
        ({"trained_tokens": 9}, "trained_tokens: has no effect without positions ntk or yarn"),
        ({"positions": "extend"}, "positions extend: needs a `side`"),
    ],
)
def test_wrong_options_are_refused(tiny_model: Path, tmp_path: Path, options, message) -> None:
    with pytest.raises(Diffusion4kError, match=message):
        _with(tiny_model, tmp_path, **options)


WITHOUT = {"pixart": tiny_pixart, "sana": tiny_sana, "z-image": tiny_z_image}


@pytest.mark.parametrize("name", WITHOUT)
def test_a_family_without_positions_refuses_them(name: str, tmp_path: Path) -> None:
    model = WITHOUT[name](tmp_path / "model")
    with pytest.raises(UsageError, match=f"found 'ntk', allowed in {name} models: none"):
        Sampler(model, high_resolution={"positions": "ntk"})
    with pytest.raises(UsageError, match=f"found 'ntk', allowed in {name} models: none"):
        Blueprint(model, high_resolution={"positions": "ntk"})


def test_options_given_are_those_of_a_model_that_states_them(flux: Path, tmp_path: Path) -> None:
    options = {"positions": "yarn", "trained_tokens": 2, "time_dependent": True}
    stating, _ = _with(flux, tmp_path, **options)
    size = {"width": 256, "height": 128, "steps": 2}
    found = []
    for sampler in (Sampler(stating), Sampler(flux, high_resolution=options), Sampler(flux)):
        settings = sampler.settle(Request("a", **size))
        found.append(sampler.denoise(settings))
    assert torch.equal(found[0], found[1])
    assert not torch.allclose(found[1], found[2])
    recorded = Sampler(flux, high_resolution=options).settle(Request("a", **size))
    assert json.loads(recorded.high_resolution or "") == options
    # Key by key in place of what the folder states.
    family = family_of(stating, high_resolution={"positions": "ntk"})
    assert family.high_resolution(stating).positions == "ntk"
    assert family.high_resolution(stating).trained_tokens == 2


def test_options_of_a_command_line() -> None:
    assert given_options((None, None), positions=None, attention_chunk=None) == {}
    assert given_options((None, 96), positions="extend") == {"positions": "extend", "side": 96}
    assert given_options((64, 96), positions="ntk") == {"positions": "ntk"}


def test_a_run_with_options_makes_a_model_that_states_them(
    tiny_model: Path, flux: Path, tmp_path: Path
) -> None:
    photographs = make_folder(tmp_path / "photographs", [(64, 64)])
    wanted = {
        tiny_model: {"positions": "interpolate", "side": 2304, "attention_chunk": 4},
        flux: {"positions": "ntk", "trained_tokens": 1, "time_dependent": True},
    }
    for number, (model, options) in enumerate(wanted.items()):
        keys = {"model": str(model), "data": str(photographs), "resolution": 64, "steps": 1}
        keys |= {"output": str(tmp_path / str(number)), "validation": {"every": None}}
        recipe = Recipe.model_validate(keys | {"high_resolution": options})
        result = train(recipe)
        stated = json.loads((result / "diffusion4k.json").read_text())
        assert stated == {"high_resolution": options}
        assert family_of(result).high_resolution(result) == HighResolution(**options)
        size = {"width": 64, "height": 64, "steps": 1}
        sampler = Sampler(result)
        assert sampler.sample(sampler.settle(Request("a", **size))).size == (64, 64)
    assert (
        json.loads((tmp_path / "0/model/transformer/config.json").read_text())["pos_embed_max_size"]
        == 72
    )
    with pytest.raises(UsageError, match="batch_size: found 2, allowed 1 with high_resolution"):
        train(Recipe.model_validate(keys | {"high_resolution": options, "batch_size": 2}))


def test_a_plan_reaches_beyond_the_table(tiny_model: Path) -> None:
    size = SamplingOptions(width=2304, height=32)
    with pytest.raises(UsageError, match="largest size is 2048x2048"):
        GenerationSetup.of(Blueprint(tiny_model), size, on_gpu=True)
    wanted = given_options((2304, 32), positions="extend")
    blueprint = Blueprint(tiny_model, high_resolution=wanted)
    setup = GenerationSetup.of(blueprint, size, on_gpu=True)
    plan = plan_generation(blueprint, setup, described_machine(gpus=1))
    assert plan.fits
