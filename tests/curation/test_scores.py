"""Scores by a tiny CLIP with random weights, against transformers' own words for it."""

import itertools
from pathlib import Path

import pytest
import torch
from transformers import CLIPConfig, CLIPModel

from diffusion4k.curation.clip import ClipScorer
from diffusion4k.errors import Diffusion4kError
from tests.curation.conftest import Build, picture
from tests.tiny import tiny_tokenizer

WIDTH = 16


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("clip")
    tokenizer = tiny_tokenizer()
    layers = {"hidden_size": 32, "intermediate_size": 32, "num_attention_heads": 2}
    layers |= {"num_hidden_layers": 2}
    text = layers | {"vocab_size": len(tokenizer), "max_position_embeddings": 77}
    text |= {"eos_token_id": tokenizer.eos_token_id}
    vision = layers | {"image_size": 32, "patch_size": 8}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        config = CLIPConfig(text_config=text, vision_config=vision, projection_dim=WIDTH)
        CLIPModel(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="module")
def predictor(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, torch.nn.Module]:
    """LAION's architecture, but narrow, and the file of its weights as they publish it."""
    with torch.random.fork_rng():
        torch.manual_seed(1)
        widths = itertools.pairwise((WIDTH, 24, 12, 8, 4, 1))
        linear = [torch.nn.Linear(*pair) for pair in widths]
    drop = torch.nn.Dropout(0.2)
    layers = torch.nn.Sequential(linear[0], drop, linear[1], drop, linear[2], drop, *linear[3:])
    path = tmp_path_factory.mktemp("predictor") / "linear.pth"
    torch.save({f"layers.{name}": value for name, value in layers.state_dict().items()}, path)
    return str(path), layers.eval()


def test_scores_are_those_of_the_models(clip: str, predictor) -> None:
    path, layers = predictor
    scorer = ClipScorer(clip, path)
    image = picture(0, 32, 32)
    embedding = scorer.embed(image)
    model = CLIPModel.from_pretrained(clip).eval()
    pixels = torch.tensor(list(image.tobytes()), dtype=torch.float32).view(32, 32, 3) / 255
    mean = torch.tensor([0.48145466, 0.4578275, 0.40821073])
    std = torch.tensor([0.26862954, 0.26130258, 0.27577711])
    words = tiny_tokenizer()("a lake", return_tensors="pt")
    with torch.inference_mode():
        out = model(pixel_values=((pixels - mean) / std).permute(2, 0, 1)[None], **words)
        expected = layers(out.image_embeds[0])
    assert torch.allclose(embedding, out.image_embeds[0], atol=1e-5)
    assert scorer.aesthetic(embedding) == pytest.approx(float(expected), abs=1e-5)
    cosine = float(out.image_embeds[0] @ out.text_embeds[0])
    assert scorer.match(embedding, "a lake") == pytest.approx(100 * max(0, cosine), abs=1e-3)
    assert scorer.match(embedding, "a very long text " * 100) >= 0


def test_large_pictures_are_seen_as_their_central_square(clip: str) -> None:
    scorer = ClipScorer(clip, None)
    wide = picture(0, 400, 200)
    square = wide.crop((100, 0, 300, 200))
    assert torch.allclose(scorer.embed(wide), scorer.embed(square), atol=0.05)
    assert not torch.allclose(scorer.embed(wide), scorer.embed(picture(1, 200, 200)), atol=0.05)


def test_pictures_are_dropped_by_their_scores(
    photos: Path, build: Build, clip: str, predictor
) -> None:
    scores = {"clip": clip, "aesthetic": predictor[0]}
    before = {row["name"]: row for row in build(photos, scores=scores).rows}
    assert all(row["kept"] and row["caption_match"] is not None for row in before.values())
    limit = sorted(row["aesthetic"] for row in before.values())[2]
    after = build(photos, scores=scores | {"min_aesthetic": limit}).rows
    for row in after:
        assert row["kept"] == (before[row["name"]]["aesthetic"] >= limit)
        assert row["kept"] or row["reason"].startswith("aesthetic: ")


def test_a_changed_caption_is_matched_anew(photos: Path, build: Build, clip: str) -> None:
    first = {row["name"]: row["caption_match"] for row in build(photos, scores={"clip": clip}).rows}
    text = (photos / "metadata.jsonl").read_text()
    (photos / "metadata.jsonl").write_text(text.replace("picture 0", "zebra crossing 77"))
    again = {row["name"]: row["caption_match"] for row in build(photos, scores={"clip": clip}).rows}
    assert {name for name in first if first[name] != again[name]} == {"a.jpg"}


def test_wrong_weights_are_one_line(tmp_path: Path, clip: str, predictor) -> None:
    with pytest.raises(Diffusion4kError, match="no CLIP model loads from there"):
        ClipScorer(str(tmp_path), None)
    path = tmp_path / "other.pth"
    torch.save({"layers.0.weight": torch.zeros(3, 768), "layers.0.bias": torch.zeros(3)}, path)
    with pytest.raises(Diffusion4kError, match="made for embeddings of 768 numbers"):
        ClipScorer(clip, str(path))
    torch.save({"something": torch.zeros(3)}, path)
    with pytest.raises(Diffusion4kError, match="no linear layers"):
        ClipScorer(clip, str(path))
