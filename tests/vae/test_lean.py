"""Lean passes equal the plain ones at any size and budget, and say what they cannot do."""

import pytest
import torch
from diffusers import AutoencoderKL
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils._python_dispatch import TorchDispatchMode

import diffusion4k.vae.feature_map as feature_map
from diffusion4k.errors import Diffusion4kError, UsageError
from diffusion4k.models.published import build_published
from diffusion4k.vae import PartitionedAutoencoderKL, decode_strips, lean_decode, lean_encode
from diffusion4k.vae.layouts import layout_of
from diffusion4k.vae.lean import parse_memory
from diffusion4k.vae.strips import StripPasses


def autoencoder(attention: bool, quant: bool = True, layers: int = 1) -> AutoencoderKL:
    torch.manual_seed(0)
    made = AutoencoderKL(
        block_out_channels=(8, 16, 16, 24),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        layers_per_block=layers,
        norm_num_groups=4,
        latent_channels=4,
        mid_block_add_attention=attention,
        use_quant_conv=quant,
        use_post_quant_conv=quant,
    )
    # Norms that do something, and features far from zero mean, which test the statistics.
    for module in made.modules():
        if isinstance(module, torch.nn.GroupNorm):
            torch.nn.init.normal_(module.weight, 1, 0.3)
            torch.nn.init.normal_(module.bias, 0.5, 0.5)
    return made.eval()


STOCK = {attention: autoencoder(attention) for attention in (False, True)}
MODELS = [*STOCK.values(), *(PartitionedAutoencoderKL.from_autoencoder(v) for v in STOCK.values())]
MEMORY = st.one_of(st.none(), st.integers(400_000, 3_000_000))


def assert_close(found: torch.Tensor, expected: torch.Tensor) -> None:
    assert found.shape == expected.shape
    assert (found - expected).abs().max() <= 1e-4 * max(1, expected.abs().max())


@settings(max_examples=40)
@given(
    model=st.sampled_from(MODELS),
    batch=st.integers(1, 2),
    height=st.integers(1, 17),
    width=st.integers(1, 17),
    memory=MEMORY,
)
def test_decode_equals_the_plain_one(model, batch, height, width, memory) -> None:
    torch.manual_seed(height * width)
    latents = torch.randn(batch, 4, height, width)
    with torch.inference_mode():
        expected = model.decode(latents).sample
    assert_close(lean_decode(model, latents, memory), expected)


@settings(max_examples=40)
@given(
    model=st.sampled_from(MODELS),
    height=st.integers(1, 17),
    width=st.integers(1, 17),
    memory=MEMORY,
)
def test_encode_equals_the_plain_one(model, height, width, memory) -> None:
    factor = 2 ** (len(model.config.block_out_channels) - 1)
    image = torch.randn(1, 3, factor * height, factor * width)
    with torch.inference_mode():
        expected = model.encode(image).latent_dist.parameters
    assert_close(lean_encode(model, image, memory).parameters, expected)


@pytest.mark.parametrize("size", [(66, 258), (33, 129)])
def test_at_sizes_that_divide_badly(size: tuple[int, int]) -> None:
    # 1056x4128 pixels at F=16 and F=32-like strips that end in the middle of nothing.
    model = MODELS[2]
    latents = torch.randn(1, 4, *size)
    with torch.inference_mode():
        expected = model.decode(latents).sample
    assert_close(lean_decode(model, latents, "24MiB"), expected)


def test_statistics_do_not_lose_digits() -> None:
    """A mean a thousand times the deviation, in many strips, beside float64 of the whole."""
    workspace = feature_map.Workspace(None, torch.device("cpu"), torch.float32)
    values = 1000 + torch.randn(1, 8, 300, 70)
    made = workspace.new_map(8, 300, 70)
    for top in range(0, 300, 7):
        made.write(top, values[:, :, top : top + 7])
    mean, scale = made.group_statistics(2, 1e-6)
    groups = values.double().view(2, -1)
    torch.testing.assert_close(mean[::4], groups.mean(1), rtol=1e-7, atol=0)
    expected = (groups.var(1, correction=0) + 1e-6).rsqrt()
    torch.testing.assert_close(scale[::4], expected, rtol=1e-5, atol=0)


def test_statistics_on_a_gpu_are_those_of_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Taken strip by strip in one kernel each, of strips of unequal height."""
    monkeypatch.setattr(feature_map, "_IN_PIECES", ())
    test_statistics_do_not_lose_digits()
    model, latents = MODELS[3], torch.randn(1, 4, 13, 9)
    with torch.inference_mode():
        expected = model.decode(latents).sample
    assert_close(lean_decode(model, latents, 500_000), expected)


class _Kernels(TorchDispatchMode):
    """Counts operations that compute something; a view does not."""

    count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        made = func(*args, **(kwargs or {}))
        outputs = func._schema.returns
        is_view = any(r.alias_info and not r.alias_info.is_write for r in outputs)
        self.count += not is_view and "empty" not in func.__name__
        return made


def test_a_decode_at_full_size_on_a_gpu_starts_few_kernels() -> None:
    """On the meta device, which is none of those that count in pieces; a launch takes 5 us."""
    stock = build_published("stabilityai/stable-diffusion-3-medium-diffusers", "vae")
    model = PartitionedAutoencoderKL.from_autoencoder(stock).to(torch.bfloat16)
    latents = torch.empty(1, 16, 256, 256, dtype=torch.bfloat16, device="meta")
    with torch.inference_mode(), _Kernels() as kernels:
        passes = StripPasses(None, model.decoder)
        strips = layout_of(model).decode(passes, model, passes.load(latents))
        rows = [strip.shape[2] for _, strip in strips]
    assert sum(rows) == 4096
    print(f"{kernels.count} kernels")
    assert kernels.count < 3000


def test_maps_beyond_the_budget_go_to_files_and_leave_nothing(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(feature_map.tempfile, "tempdir", str(tmp_path))
    made: list[bool] = []
    plain = feature_map.FeatureMap.__init__

    def spy(self, *arguments, in_memory, **keywords) -> None:
        made.append(in_memory)
        plain(self, *arguments, in_memory=in_memory, **keywords)

    monkeypatch.setattr(feature_map.FeatureMap, "__init__", spy)
    lean_decode(MODELS[0], torch.randn(1, 4, 16, 16), "600K")
    assert True in made
    assert False in made
    assert not list(tmp_path.iterdir())


def test_strips_are_the_image_from_top_to_bottom() -> None:
    latents = torch.randn(1, 4, 12, 5)
    strips = list(decode_strips(MODELS[2], latents, "600K"))
    assert len(strips) > 2
    assert [top for top, _ in strips] == [
        sum(s.shape[2] for _, s in strips[:i]) for i in range(len(strips))
    ]
    assert torch.equal(
        torch.cat([s for _, s in strips], 2), lean_decode(MODELS[2], latents, "600K")
    )


@pytest.mark.parametrize(
    ("latents", "memory", "said"),
    [
        (torch.full((1, 4, 8, 8), float("nan")), None, "NaN"),
        (torch.randn(1, 3, 8, 8), None, r"\(batch, 4, height, width\)"),
        (torch.randn(4, 8, 8), None, "shape"),
        (torch.randn(1, 4, 8, 8), "1K", "at least"),
        (torch.randn(1, 4, 8, 8), "lots", "4GiB"),
        (torch.randn(1, 4, 8, 8), "0", "must be positive"),
    ],
)
def test_bad_input(latents, memory, said) -> None:
    with pytest.raises(UsageError, match=said):
        lean_decode(MODELS[0], latents, memory)


def test_the_budget_an_error_names_is_enough() -> None:
    latents = torch.randn(1, 4, 16, 16)
    budget = "1K"
    for _ in range(40):
        try:
            lean_decode(MODELS[0], latents, budget)
            return
        except UsageError as error:
            budget = str(error).rsplit("at least ", 1)[1]
    pytest.fail(f"still too small: {budget}")


def test_image_of_a_size_that_does_not_divide() -> None:
    with pytest.raises(UsageError, match="multiples of 16"):
        lean_encode(MODELS[2], torch.randn(1, 3, 64, 70))


def test_a_full_disk_is_said(monkeypatch) -> None:
    usage = feature_map.shutil.disk_usage("/")._replace(free=1000)
    monkeypatch.setattr(feature_map.shutil, "disk_usage", lambda _: usage)
    with pytest.raises(Diffusion4kError, match="TMPDIR"):
        lean_decode(MODELS[0], torch.randn(1, 4, 16, 16), "500K")


@pytest.mark.parametrize(
    ("text", "size"),
    [("4GiB", 4 * 2**30), ("512 MB", 2**29), ("1.5g", 3 * 2**29), ("100", 100), (7, 7)],
)
def test_parse_memory(text, size) -> None:
    assert parse_memory(text) == size
