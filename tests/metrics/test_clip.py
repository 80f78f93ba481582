"""CLIP's embeddings, and the scores made of them, beside transformers' and torchmetrics' own."""

import itertools
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from torchmetrics.functional.multimodal import clip_score as torchmetrics_clip_score
from transformers import CLIPImageProcessor, CLIPModel, CLIPProcessor

from benchmarks.tiny import tiny_tokenizer
from diffusion4k.errors import Diffusion4kError, UsageError
from diffusion4k.metrics.aesthetics import AestheticMeasure, AestheticPredictor
from diffusion4k.metrics.clip import Clip, crop_then_resize, resize_then_crop
from diffusion4k.metrics.clip_score import ClipScoreMeasure, clip_scores
from diffusion4k.metrics.pickscore import PickScoreMeasure, pick_score
from diffusion4k.metrics.picture import MeasuredImage
from tests.metrics.tiny_networks import (
    WIDTH,
    photo_like,
    tiny_aesthetics,
    tiny_clip_folder,
)

LONG = (
    "a lake below mountains, seen from a boat at dawn, while the fog lifts; "
    "two herons stand on a stone"
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    return tiny_clip_folder(tmp_path_factory.mktemp("clip"))


@pytest.fixture(scope="module")
def clip(folder: str) -> Clip:
    return Clip(folder)


@pytest.fixture(scope="module")
def processor() -> CLIPProcessor:
    image = CLIPImageProcessor(
        size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}, use_fast=False
    )
    return CLIPProcessor(image, tiny_tokenizer())


@pytest.mark.parametrize(("width", "height"), [(32, 32), (400, 300), (301, 457), (31, 90)])
def test_logits_are_those_of_transformers(
    clip: Clip, folder: str, processor: CLIPProcessor, width: int, height: int
) -> None:
    model = CLIPModel.from_pretrained(folder).eval()
    picture = photo_like(width, width, height)
    inputs = processor(text=["a lake"], images=[picture], return_tensors="pt")
    with torch.inference_mode():
        out = model(**inputs)
    cosine = float(clip.embed(picture) @ clip.embed_text("a lake"))
    assert clip.scale * cosine == pytest.approx(float(out.logits_per_image), abs=2e-4)
    assert pick_score(picture, "a lake", clip) == pytest.approx(clip.scale * cosine)
    torch.testing.assert_close(clip.embed(picture), out.image_embeds[0], atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(clip.embed_text("a lake"), out.text_embeds[0], atol=1e-5, rtol=1e-4)


@pytest.mark.filterwarnings("ignore:Encountered caption longer")
@pytest.mark.parametrize("prompt", ["a lake", LONG], ids=["short", "long"])
@pytest.mark.parametrize("eos", [None, 2])
def test_score_of_torchmetrics(
    tmp_path: Path, processor: CLIPProcessor, prompt: str, eos: int | None
) -> None:
    folder = tiny_clip_folder(tmp_path, seed=3, eos=eos)
    model = CLIPModel.from_pretrained(folder).eval()
    # transformers 5 wraps the features; torchmetrics takes them bare.
    for name in ("get_image_features", "get_text_features"):
        wrapped = getattr(model, name)
        setattr(model, name, lambda *a, call=wrapped: call(*a).pooler_output)
    clip = Clip(folder)
    for seed in range(3):
        picture = photo_like(seed, 80, 50)
        pixels = torch.from_numpy(np.array(picture)).permute(2, 0, 1)
        expected = torchmetrics_clip_score(pixels, prompt, lambda: (model, processor))
        found = clip_scores([(picture, prompt)], clip, "torchmetrics")
        assert found.mean == pytest.approx(float(expected.detach()), abs=1e-3)
        assert found.long_prompts == (prompt is LONG)


def test_torchmetrics_cut_forgets_the_text(clip: Clip) -> None:
    """The finding that the module's text tells: all long prompts are one to torchmetrics."""
    other = "something else altogether: a red bicycle leaning on a wall " * 3
    same = clip.embed_text(LONG, "torchmetrics") - clip.embed_text(other, "torchmetrics")
    assert same.abs().max() < 1e-6
    for long in ("cut", "mean"):
        apart = clip.embed_text(LONG, long) - clip.embed_text(other, long)
        assert apart.abs().max() > 1e-3


def test_long_texts(clip: Clip, folder: str) -> None:
    model, tokenizer = CLIPModel.from_pretrained(folder).eval(), tiny_tokenizer()

    def embedded(ids: list[int]) -> torch.Tensor:
        with torch.inference_mode():
            pooled = model.text_model(input_ids=torch.tensor([ids])).pooler_output
            vector = model.text_projection(pooled)[0]
        return vector / vector.norm()

    cut = tokenizer(LONG, truncation=True, max_length=77)["input_ids"]
    assert len(cut) == 77
    torch.testing.assert_close(clip.embed_text(LONG), embedded(cut), atol=1e-5, rtol=1e-4)
    inner = tokenizer(2 * LONG, add_special_tokens=False)["input_ids"]
    count = -(-len(inner) // 75)
    size = -(-len(inner) // count)
    start, end = tokenizer.bos_token_id, tokenizer.eos_token_id
    longer = len(inner) - count * (size - 1)  # the first chunks may have one token more
    cuts = [min(k, longer) * size + max(0, k - longer) * (size - 1) for k in range(count + 1)]
    parts = [embedded([start, *inner[a:b], end]) for a, b in itertools.pairwise(cuts)]
    mean = torch.stack(parts).mean(0)
    torch.testing.assert_close(
        clip.embed_text(2 * LONG, "mean"), mean / mean.norm(), atol=1e-5, rtol=1e-4
    )


def test_limit_of_a_long_prompt(clip: Clip) -> None:
    assert not clip.is_long("a" * 1) and not clip.is_long(" ".join("a" * 75))
    assert clip.is_long(" ".join("a" * 76))
    for long in ("cut", "mean", "torchmetrics"):
        fits = clip.embed_text(" ".join("ab" * 37), long)
        torch.testing.assert_close(fits, clip.embed_text(" ".join("ab" * 37)))


def test_both_ways_to_a_square_agree() -> None:
    square = photo_like(4, 120, 120)
    assert resize_then_crop(square, 32).tobytes() == crop_then_resize(square, 32).tobytes()
    wide = photo_like(5, 300, 200)
    a, b = (np.asarray(way(wide, 32), float) for way in (resize_then_crop, crop_then_resize))
    assert a.shape == b.shape == (32, 32, 3) and np.abs(a - b).mean() < 6


def test_aesthetics_of_the_layers(clip: Clip, tmp_path: Path) -> None:
    layers = tiny_aesthetics(tmp_path / "linear.pth")
    predictor = AestheticPredictor(tmp_path / "linear.pth", clip)
    embedding = clip.embed(photo_like(6))
    with torch.inference_mode():
        expected = float(layers(embedding))
    assert predictor(embedding) == pytest.approx(expected, abs=1e-5)
    photo_like(6).save(tmp_path / "a.png")
    measure = AestheticMeasure(clip, predictor)
    assert measure(MeasuredImage(tmp_path / "a.png")).numbers == {
        "aesthetics": predictor(embedding)
    }


def test_measures_in_threads(clip: Clip, tmp_path: Path) -> None:
    pictures = []
    for seed in range(8):
        path = tmp_path / f"{seed}.png"
        photo_like(seed).save(path)
        pictures.append(MeasuredImage(path, "a lake" if seed % 2 else LONG))
    for measure in (ClipScoreMeasure(clip), PickScoreMeasure(clip)):
        alone = [measure(picture).numbers for picture in pictures]
        with ThreadPoolExecutor(4) as pool:
            assert [found.numbers for found in pool.map(measure, pictures)] == alone
    found = [ClipScoreMeasure(clip)(picture).numbers for picture in pictures]
    assert [numbers["clip_long_prompts"] for numbers in found] == [1, 0] * 4
    assert all(0 <= numbers["clip_score"] <= 100 for numbers in found)
    with pytest.raises(Diffusion4kError, match=r"0\.png: has no prompt"):
        ClipScoreMeasure(clip)(MeasuredImage(tmp_path / "0.png", " "))


def test_protocol_follows_weights_and_option(clip: Clip, tmp_path: Path, folder: str) -> None:
    again = tiny_clip_folder(tmp_path / "again")
    other = tiny_clip_folder(tmp_path / "other", seed=9)
    protocols = [ClipScoreMeasure(Clip(name)).protocol for name in (folder, again, other)]
    assert protocols[0] == protocols[1] != protocols[2]
    assert ClipScoreMeasure(clip, "mean").protocol != protocols[0]


def test_pictures_only(folder: str, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "bare", ignore=shutil.ignore_patterns("*token*", "vocab*"))
    seeing = Clip(str(tmp_path / "bare"), texts=False)
    assert seeing.embed(photo_like(1)).shape == (WIDTH,)
    with pytest.raises(UsageError, match="for pictures only"):
        seeing.embed_text("a lake")
    with pytest.raises(Diffusion4kError, match="its tokenizer has 2 tokens"):
        Clip(str(tmp_path / "bare"))


def test_predictors_that_do_not_fit(clip: Clip, tmp_path: Path) -> None:
    path = tmp_path / "other.pth"
    torch.save({"layers.0.weight": torch.zeros(1, 768), "layers.0.bias": torch.zeros(1)}, path)
    with pytest.raises(Diffusion4kError, match="made for embeddings of 768 numbers"):
        AestheticPredictor(path, clip)
    weight, bias = torch.zeros(3, WIDTH), torch.zeros(3)
    for wrong in (
        {"something": bias},
        {"layers.0.weight": weight, "layers.0.bias": bias},
        {"layers.0.weight": weight},
        {"layers.0.weight": weight, "layers.0.bias": torch.zeros(4)},
        {"0.weight": weight, "0.bias": bias, "1.weight": torch.zeros(1, 4), "1.bias": bias[:1]},
    ):
        torch.save(wrong, path)
        with pytest.raises(Diffusion4kError, match=r"other\.pth: no linear layers"):
            AestheticPredictor(path, clip)
