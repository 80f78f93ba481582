"""Positions and attention beyond the training size, against brute force and stock diffusers."""

import json
import math
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers.models.embeddings import get_2d_sincos_pos_embed_from_grid
from diffusers.models.transformers.transformer_flux import FluxPosEmbed
from torch.nn.functional import scaled_dot_product_attention
from torch.overrides import TorchFunctionMode

from diffusion4k.errors import Diffusion4kError, UsageError
from diffusion4k.families import Family, family_of
from diffusion4k.families.high_resolution import ChunkedAttention
from diffusion4k.families.positions import ScaledRotaryEmbedding, resize_table
from diffusion4k.sampling import Request, Sampler
from diffusion4k.training.build import build_timesteps
from diffusion4k.training.loop import train
from diffusion4k.training.recipe import Recipe
from tests.data.fake import make_folder
from tests.families.test_flux import tiny_flux
from tests.families.test_pixart import tiny_pixart
from tests.families.test_sana import tiny_sana
from tests.tiny import tiny_transformer


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
        ({"rope": "yarn"}, "unknown rope; known: attention_chunk"),
        ({"attention_chunk": 0}, "attention_chunk: found 0, allowed a whole number"),
        ({"time_dependent": 1}, "time_dependent: found 1, allowed true or false"),
    ],
)
def test_wrong_options_are_refused(tiny_model: Path, tmp_path: Path, options, message) -> None:
    model, family = _with(tiny_model, tmp_path, **options)
    with pytest.raises(Diffusion4kError, match=message):
        family.load_transformer(model, dtype=torch.float32)


def test_positions_need_a_side(tiny_model: Path, tmp_path: Path) -> None:
    model, family = _with(tiny_model, tmp_path, positions="extend")
    with pytest.raises(UsageError, match="needs a `side`"):
        family.load_transformer(model, dtype=torch.float32)
