"""LoRA in sampling: what stock `load_lora_weights` gives, refusals, merging."""

import json
from pathlib import Path

import pytest
import torch
from diffusers import SD3Transformer2DModel, StableDiffusion3Pipeline
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from benchmarks.tiny import tiny_sd3
from diffusion4k.errors import Diffusion4kError, UsageError
from diffusion4k.lora import FILE_NAME, add_adapter, read_adapter, write_adapter
from diffusion4k.sampling import Request, Sampler, SamplingSettings, generate, read_metadata
from diffusion4k.training.checkpoint.merge import merge_lora
from diffusion4k.vae import PartitionedAutoencoderKL

TARGETS = ("to_q", "to_out.0", "ff.net.2")


@pytest.fixture(scope="module")
def lora(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A LoRA with random weights that change the image plainly."""
    transformer = SD3Transformer2DModel.from_pretrained(tiny_model, subfolder="transformer")
    add_adapter(transformer, rank=4, alpha=6, targets=TARGETS, seed=0)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, parameter in transformer.named_parameters():
            if "lora_" in name:
                parameter.copy_(0.3 * torch.randn(parameter.shape, generator=generator))
    folder = tmp_path_factory.mktemp("lora")
    write_adapter(folder, transformer, {"family": "sd3", "base_model": "tiny"})
    return folder


def _stock(
    model: Path, settings: SamplingSettings, lora: Path | None, scale: float = 1.0
) -> torch.Tensor:
    """Latents of the stock pipeline called directly."""
    pipeline = StableDiffusion3Pipeline.from_pretrained(
        model, text_encoder_3=None, tokenizer_3=None
    )
    if not isinstance(pipeline.vae, PartitionedAutoencoderKL):
        pipeline.register_modules(vae=PartitionedAutoencoderKL.from_autoencoder(pipeline.vae))
        pipeline.vae_scale_factor = 16
    if lora:
        pipeline.load_lora_weights(lora, adapter_name="a")
        pipeline.set_adapters("a", scale)
    return pipeline(
        settings.prompt,
        width=settings.width,
        height=settings.height,
        num_inference_steps=settings.steps,
        guidance_scale=settings.guidance,
        generator=torch.Generator().manual_seed(settings.seed),
        output_type="latent",
    ).images


@pytest.mark.parametrize("scale", [None, 0.4, 0.0])
def test_latents_are_those_of_stock_load_lora_weights(
    tiny_model: Path, lora: Path, scale: float | None
) -> None:
    sampler = Sampler(tiny_model, lora=lora, lora_scale=scale)
    settings = sampler.settle(Request("a cat", seed=3, width=64, height=96, steps=2))
    ours = sampler.denoise(settings)
    expected = _stock(tiny_model, settings, lora, 1.0 if scale is None else scale)
    torch.testing.assert_close(ours, expected, rtol=0, atol=1e-5)
    plain = _stock(tiny_model, settings, None)
    assert torch.allclose(ours, plain, rtol=0, atol=1e-5) == (scale == 0.0)


def test_every_reader_takes_it_at_the_same_strength(tmp_path: Path) -> None:
    """Programs differ in where they look for alpha, and take it for the rank, or alpha / rank for
    one, where they find none: so that B A of the file must be all that is added."""
    layer = torch.nn.Sequential(torch.nn.Linear(6, 5, bias=False))
    add_adapter(layer, rank=2, alpha=8, targets=["0"], seed=0)
    torch.nn.init.normal_(layer[0].lora_B["default"].weight)
    write_adapter(tmp_path, layer, {"family": "sd3", "base_model": "tiny"})
    file = load_file(tmp_path / FILE_NAME)
    product = file["transformer.0.lora_B.weight"] @ file["transformer.0.lora_A.weight"]
    found = layer(torch.eye(6)).T - layer[0].base_layer.weight
    torch.testing.assert_close(product, found)
    config = read_adapter(tmp_path).config
    assert config["lora_alpha"] == config["r"] == 2


def test_a_file_without_configuration_is_read_as_diffusers_reads_it(
    tiny_model: Path, lora: Path, tmp_path: Path
) -> None:
    """Alpha is then the rank, of each layer alone."""
    weights = load_file(lora / FILE_NAME)
    narrow = "transformer.transformer_blocks.0.attn.to_q.lora_"
    weights[f"{narrow}A.weight"] = weights[f"{narrow}A.weight"][:2].contiguous()
    weights[f"{narrow}B.weight"] = weights[f"{narrow}B.weight"][:, :2].contiguous()
    save_file(weights, tmp_path / FILE_NAME, {"format": "pt"})
    sampler = Sampler(tiny_model, lora=tmp_path / FILE_NAME)
    settings = sampler.settle(Request("a cat", seed=3, width=64, height=96, steps=2))
    expected = _stock(tiny_model, settings, tmp_path)
    torch.testing.assert_close(sampler.denoise(settings), expected, rtol=0, atol=1e-5)


def test_merged_is_unmerged_and_needs_no_lora(tiny_model: Path, lora: Path, tmp_path: Path) -> None:
    unmerged = Sampler(tiny_model, lora=lora, lora_scale=0.7)
    settings = unmerged.settle(Request("a cat", seed=3, width=64, height=96, steps=2))
    merged = merge_lora(lora, tiny_model, tmp_path / "merged", scale=0.7)
    before, after = (
        load_file(folder / "transformer/diffusion_pytorch_model.safetensors")
        for folder in (tiny_model, merged)
    )
    assert before.keys() == after.keys()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed == {
        f"{key.removeprefix('transformer.').split('.lora_')[0]}.weight"
        for key in load_file(lora / FILE_NAME)
    }
    torch.testing.assert_close(
        _stock(merged, settings, None), unmerged.denoise(settings), rtol=0, atol=1e-4
    )
    with pytest.raises(UsageError, match="already exists"):
        merge_lora(lora, tiny_model, merged)


def test_the_image_says_what_made_it(tiny_model: Path, lora: Path, tmp_path: Path) -> None:
    request = Request("a cat", width=64, height=64, steps=1)
    plain, weak, strong = (
        generate([request], tiny_model, out=tmp_path, progress=False, **options)[0]
        for options in ({}, {"lora": lora, "lora_scale": 0.5}, {"lora": lora})
    )
    assert len({plain.path, weak.path, strong.path}) == 3
    record = read_metadata(weak.path)
    assert record["lora"] == str(lora / FILE_NAME) and record["lora_scale"] == 0.5
    assert record["lora_fingerprint"] == read_adapter(lora).fingerprint
    assert record["lora_fingerprint"] == read_metadata(strong.path)["lora_fingerprint"]
    assert read_metadata(plain.path)["lora"] is None


def test_several_add_up_and_are_recorded(tiny_model: Path, lora: Path, tmp_path: Path) -> None:
    """Twice at a half is once; a record of one LoRA stays as it was."""
    file = str(lora / FILE_NAME)
    settings = Request("a cat", seed=3, width=64, height=96, steps=2)
    once = Sampler(tiny_model, lora=lora)
    twice = Sampler(tiny_model, lora=[lora, lora], lora_scale=[0.25, 0.75])
    expected = once.denoise(once.settle(settings))
    torch.testing.assert_close(twice.denoise(twice.settle(settings)), expected, rtol=0, atol=1e-5)
    (output,) = generate([settings], twice, out=tmp_path)
    record = read_metadata(output.path)
    assert record["lora"] == [file, file] and record["lora_scale"] == [0.25, 0.75]
    assert record["lora_fingerprint"] == [read_adapter(lora).fingerprint] * 2
    (again,) = generate([settings], twice, out=tmp_path)
    assert not again.is_new
    with pytest.raises(UsageError, match="2 LoRAs and 1 LoRA scale: give one scale for each"):
        Sampler(tiny_model, lora=[lora, lora], lora_scale=0.5)


def _with_header(lora: Path, folder: Path, **record: str) -> Path:
    with safe_open(lora / FILE_NAME, framework="pt") as file:
        metadata = file.metadata()
    folder.mkdir()
    metadata["diffusion4k"] = json.dumps(json.loads(metadata["diffusion4k"]) | record)
    save_file(load_file(lora / FILE_NAME), folder / FILE_NAME, metadata)
    return folder


def test_a_lora_for_another_model_is_refused(tiny_model: Path, lora: Path, tmp_path: Path) -> None:
    other = _with_header(lora, tmp_path / "other", family="flux", base_model="FLUX.1-dev")
    with pytest.raises(
        Diffusion4kError, match=r"made for flux \(FLUX\.1-dev\); .* is sd3"
    ) as error:
        Sampler(tiny_model, lora=other)
    assert "\n" not in str(error.value)
    wide = tiny_sd3(tmp_path / "wide")
    path = wide / "transformer/config.json"
    config = json.loads(path.read_text()) | {"attention_head_dim": 32}
    SD3Transformer2DModel.from_config(config).save_pretrained(wide / "transformer")
    told = r"made for sd3 \(tiny\): its .* has in_features 32, .*wide has in_features 64"
    with pytest.raises(Diffusion4kError, match=told):
        Sampler(wide, lora=lora)
    SD3Transformer2DModel.from_config(config | {"num_layers": 1}).save_pretrained(
        wide / "transformer"
    )
    with pytest.raises(Diffusion4kError, match="made for sd3"):
        merge_lora(lora, wide, tmp_path / "merged")
    assert not (tmp_path / "merged").exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "no LoRA in it: give the folder that holds"),
        (b"\x08\0\0\0\0\0\0\0 broken", "damaged safetensors file"),
        (
            {"unet.down.lora_A.weight": torch.ones(1)},
            "unet.down has lora_A, but no lora_B; known are",
        ),
        ({}, "found nothing"),
    ],
)
def test_a_file_that_is_no_lora_is_refused(
    tiny_model: Path, tmp_path: Path, content: object, message: str
) -> None:
    if isinstance(content, bytes):
        (tmp_path / FILE_NAME).write_bytes(content)
    elif isinstance(content, dict):
        save_file(content, tmp_path / FILE_NAME)
    with pytest.raises(Diffusion4kError, match=message):
        Sampler(tiny_model, lora=tmp_path)


def test_a_scale_without_lora_is_refused(tiny_model: Path) -> None:
    with pytest.raises(UsageError, match="without a LoRA"):
        Sampler(tiny_model, lora_scale=0.5)
