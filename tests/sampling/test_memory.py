"""Memory levels change where things stand, never the image."""

import re
from pathlib import Path

import pytest
import torch
from torch import nn

from benchmarks.tiny import tiny_transformer
from diffusion4k.errors import Diffusion4kError, UsageError
from diffusion4k.families.quantization import check_weights_option, load_transformer
from diffusion4k.lora import add_adapter, write_adapter
from diffusion4k.sampling import Request, Sampler, SamplingSettings
from diffusion4k.sampling.memory import LEVELS, Placement, stream_blocks

CPU, GPU = torch.device("cpu"), torch.device("cuda")


@pytest.mark.parametrize("level", LEVELS)
def test_the_image_is_the_same_at_every_level(
    sampler: Sampler, settings: SamplingSettings, level: str
) -> None:
    other = Sampler(sampler.folder, memory=level)
    for _ in range(2):
        assert torch.equal(other.denoise(settings), sampler.denoise(settings))
    assert other.sample(settings).tobytes() == sampler.sample(settings).tobytes()


def test_blocks_come_one_by_one(sampler: Sampler, settings: SamplingSettings) -> None:
    """The hooks of group offloading, with the processor in the place of the GPU."""
    other = Sampler(sampler.folder)
    transformer = other.pipeline.transformer
    stream_blocks(transformer, CPU)
    blocks = next(part for name, part in transformer.named_children() if "blocks" in name)
    assert all(hasattr(block, "_diffusers_hook") for block in blocks)
    for _ in range(2):
        assert torch.equal(other.denoise(settings), sampler.denoise(settings))


class _Part(nn.Linear):
    """Notes where it is sent; no GPU is needed for that."""

    def __init__(self) -> None:
        super().__init__(1, 1)
        self.places: list[str] = []

    def to(self, device: object) -> "_Part":
        self.places.append(str(device))
        return self


class _Pipeline:
    def __init__(self) -> None:
        self.transformer, self.vae = _Part(), _Part()

    def to(self, device: object) -> None:
        self.transformer.to(device)
        self.vae.to(device)


@pytest.mark.parametrize(
    ("level", "device", "places"),
    [
        ("high", GPU, ["cuda"]),
        ("balanced", GPU, ["cuda", "cuda", "cpu", "cuda", "cpu"]),
        ("balanced", CPU, ["cpu"]),
    ],
)
def test_the_transformer_leaves_for_decoding(
    level: str, device: torch.device, places: list[str]
) -> None:
    pipeline, placement = _Pipeline(), Placement(level, device)
    placement.place(pipeline)
    for _ in range(2):
        placement.before_denoising(pipeline)
        placement.before_decoding(pipeline)
    assert pipeline.transformer.places == places
    assert pipeline.vae.places == [str(device)]


@pytest.mark.parametrize(
    ("level", "device", "most", "said"),
    [
        ("high", GPU, None, "transformer stays on cuda; text encoders stay loaded; .* no limit"),
        ("balanced", GPU, "2GiB", "leaves cuda while an image is decoded; .*freed.* 2048 MiB"),
        ("balanced", CPU, None, "stays on cpu; text encoders freed"),
        ("low", GPU, None, "block by block on cuda; text encoders freed.* 1024 MiB"),
        ("low", CPU, "512MiB", "stays on cpu; .* 512 MiB"),
    ],
)
def test_what_a_level_does_is_one_line(
    level: str, device: torch.device, most: str | None, said: str
) -> None:
    line = str(Placement(level, device, most))
    assert line.startswith(f"memory {level}: ") and "\n" not in line
    assert re.search(said, line), line


def test_text_encoders_stay_only_at_high(tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for level, loads in (("high", 1), ("balanced", 2)):
        sampler = Sampler(tiny_model, memory=level)
        loaded = []
        load = sampler.family.load_text_encoders
        monkeypatch.setattr(
            sampler.family,
            "load_text_encoders",
            lambda *args, load=load, loaded=loaded, **keys: loaded.append(1) or load(*args, **keys),
        )
        sampler.encode(["a"])
        sampler.encode(["b"])
        assert len(loaded) == loads


def test_an_unknown_level_is_refused(tiny_model: Path) -> None:
    with pytest.raises(UsageError, match="memory tiny: allowed are low, balanced, high"):
        Sampler(tiny_model, memory="tiny")


def test_fp8_rounds_each_weight_to_eight_bits(sampler: Sampler, settings: SamplingSettings) -> None:
    """The velocity is that of a model whose linear weights were rounded beforehand."""
    eight = Sampler(sampler.folder, weights="fp8")
    stored = {
        name: p
        for name, p in eight.pipeline.transformer.named_parameters()
        if p.dtype == torch.float8_e4m3fn
    }
    rounded = load_transformer(sampler.family, sampler.folder, dtype=torch.float32, weights=None)
    with torch.no_grad():
        for name, parameter in rounded.named_parameters():
            if name in stored:
                parameter.copy_(parameter.to(torch.float8_e4m3fn).float())
    share = sum(p.numel() for p in stored.values()) / sum(p.numel() for p in rounded.parameters())
    assert share > 0.6
    latents = eight.denoise(settings)
    plain = sampler.denoise(settings)
    reference = Sampler(sampler.folder)
    reference.pipeline.transformer = rounded
    torch.testing.assert_close(latents, reference.denoise(settings), rtol=0, atol=1e-5)
    assert not torch.allclose(latents, plain, rtol=0, atol=1e-5)
    assert eight.settle(Request("a", width=64, height=64)).weights == "fp8"


def test_an_adapter_stays_whole_beside_fp8(sampler: Sampler, tmp_path: Path) -> None:
    transformer = tiny_transformer()
    add_adapter(transformer, rank=4, alpha=4, targets=["to_q", "ff.net.2"], seed=0)
    with torch.no_grad():
        for name, parameter in transformer.named_parameters():
            if "lora_B" in name:
                parameter.normal_()
    write_adapter(tmp_path, transformer, {"family": "sd3", "base_model": "tiny"})
    for memory in ("balanced", "low"):
        eight = Sampler(sampler.folder, weights="fp8", lora=tmp_path, memory=memory)
        settings = eight.settle(Request("a cat", width=64, height=64, steps=1))
        latents = eight.denoise(settings)
        assert (latents - sampler.denoise(settings)).abs().max() > 0.5
        whole = Sampler(sampler.folder, lora=tmp_path).denoise(settings)
        assert (latents - whole).abs().max() < 0.2
        parameters = dict(eight.pipeline.transformer.named_parameters())
        kinds = {p.dtype for name, p in parameters.items() if "lora_" in name}
        assert kinds == {torch.float32}


def test_int8_comes_near(sampler: Sampler, settings: SamplingSettings) -> None:
    pytest.importorskip("torchao")
    eight = Sampler(sampler.folder, weights="int8")
    error = (eight.denoise(settings) - sampler.denoise(settings)).abs().max()
    assert 0 < error < 0.05


def test_gguf_weights_are_those_of_the_file(
    sampler: Sampler, settings: SamplingSettings, tmp_path: Path
) -> None:
    """Against a transformer that holds the file's weights, dequantised by the gguf package."""
    gguf = pytest.importorskip("gguf")
    kind = gguf.GGMLQuantizationType.Q8_0
    writer = gguf.GGUFWriter(tmp_path / "q8.gguf", "sd3")
    reference = Sampler(sampler.folder)
    weights = reference.pipeline.transformer.state_dict()
    for name, weight in weights.items():
        values = weight.numpy()
        if weight.ndim == 2 and weight.shape[1] % 32 == 0:
            data = gguf.quants.quantize(values, kind)
            writer.add_tensor(name, data, raw_dtype=kind)
            # diffusers multiplies by the scale, which the file has in half precision, in that.
            weight.copy_(torch.from_numpy(gguf.quants.dequantize(data, kind)).half())
        else:
            writer.add_tensor(name, values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    quantised = Sampler(sampler.folder, weights=f"gguf:{tmp_path / 'q8.gguf'}")
    torch.testing.assert_close(
        quantised.denoise(settings), reference.denoise(settings), rtol=0, atol=1e-4
    )
    assert quantised.settle(Request("a", width=64, height=64)).weights.startswith("gguf:")


@pytest.mark.parametrize("weights", ["fp4", "gguf", "gguf:", "int8:x"])
def test_unknown_weights_are_refused(weights: str) -> None:
    with pytest.raises(UsageError, match="allowed are fp8, int8, nf4 and gguf:FILE"):
        check_weights_option(weights)


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    for weights, package in (("int8", "torchao"), ("nf4", "bitsandbytes")):
        with pytest.raises(Diffusion4kError, match=f"pip install {package}"):
            check_weights_option(weights)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such file: give a GGUF file"):
        check_weights_option(f"gguf:{tmp_path / 'absent.gguf'}")
