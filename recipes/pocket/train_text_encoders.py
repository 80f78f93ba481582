"""Trains the pocket model's two small CLIP text encoders on the training captions.

    python recipes/pocket/train_text_encoders.py --data runs/pocket/dataset --out runs/pocket/text

As CLIP is trained: a caption and its picture (here its EfficientNet-Lite0 features, of several
crops) are pulled together, all other pairs of the batch apart (InfoNCE). Captions lose random
words on the way, so that parts of a caption still point to its picture. The tokenizer is CLIP's
byte-level BPE with a vocabulary learned from the captions; any text can be written in it.
Minutes, on a GPU if there is one. What stands in `--out` already stays: the transformer is trained
on its embeddings.
"""

import argparse
import json
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from pictures import captions_of
from PIL import Image
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import CLIPTextConfig, CLIPTextModelWithProjection, CLIPTokenizer

from diffusion4k.metrics.features import EfficientNetLite0
from diffusion4k.support.devices import usable_device
from diffusion4k.training.checkpoint.checkpoint import atomic_folder

LENGTH = 40
VOCABULARY = 1400
WIDTHS_AND_DEPTHS = ((96, 2), (160, 3))
CROPS = 6


def learn_tokenizer(texts: list[str]) -> CLIPTokenizer:
    bpe = Tokenizer(models.BPE(end_of_word_suffix="</w>", unk_token="<|endoftext|>"))
    bpe.normalizer = normalizers.Sequence([normalizers.NFC(), normalizers.Lowercase()])
    bpe.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Whitespace(), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    bpe.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        initial_alphabet=alphabet,
        end_of_word_suffix="</w>",
        show_progress=False,
    )
    bpe.train_from_iterator(texts, trainer)
    learned = json.loads(bpe.to_str())["model"]
    tokens = [t for t, _ in sorted(learned["vocab"].items(), key=lambda item: item[1])]
    # CLIP writes the last byte of a word with its suffix; every byte must exist in both forms.
    known = set(tokens)
    tokens += [c + "</w>" for c in sorted(alphabet) if c + "</w>" not in known]
    tokens += ["<|startoftext|>", "<|endoftext|>"]
    return CLIPTokenizer(
        vocab={token: i for i, token in enumerate(tokens)},
        merges=[tuple(m) for m in learned["merges"]],
        model_max_length=LENGTH,
    )


def picture_features(
    folder: Path, rows: list[dict[str, str]], device: torch.device
) -> torch.Tensor:
    """`(pictures, CROPS, 1280)`: features of random large crops, standardised."""
    extractor = EfficientNetLite0(str(device))
    generator = np.random.default_rng(0)
    features = []
    for row in rows:
        with Image.open(folder / row["file_name"]) as opened:
            image = opened.convert("RGB")
        image.thumbnail((640, 640))
        crops = []
        for _ in range(CROPS):
            side = int(min(image.size) * generator.uniform(0.75, 1.0))
            left = int(generator.integers(image.width - side + 1))
            top = int(generator.integers(image.height - side + 1))
            crops.append(image.crop((left, top, left + side, top + side)))
        features.append(torch.from_numpy(np.asarray(extractor(crops))))
    stacked = torch.stack(features).to(device)
    return (stacked - stacked.mean((0, 1))) / stacked.std()


def shortened(text: str, generator: np.random.Generator) -> str:
    words = text.split()
    drop = generator.uniform(0, 0.4)
    kept = [word for word in words if generator.random() > drop]
    return " ".join(kept or words)


def train_encoder(
    tokenizer: CLIPTokenizer,
    texts: list[str],
    features: torch.Tensor,
    width: int,
    depth: int,
    steps: int,
    seed: int,
) -> CLIPTextModelWithProjection:
    """On the device of the features."""
    device = features.device
    torch.manual_seed(seed)
    encoder = CLIPTextModelWithProjection(
        CLIPTextConfig(
            vocab_size=len(tokenizer),
            hidden_size=width,
            intermediate_size=4 * width,
            num_hidden_layers=depth,
            num_attention_heads=width // 32,
            projection_dim=width,
            max_position_embeddings=LENGTH,
            hidden_act="quick_gelu",
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    ).to(device)
    projection = torch.nn.Linear(features.shape[-1], width).to(device)
    parameters = [*encoder.parameters(), *projection.parameters()]
    optimizer = torch.optim.AdamW(parameters, lr=1e-3, weight_decay=0.05)
    generator = np.random.default_rng(seed)
    targets = torch.arange(len(texts), device=device)
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = (
                1e-3 * min(1, (step + 1) / 50) * (0.5 + 0.5 * np.cos(np.pi * step / steps))
            )
        tokens = tokenizer(
            [shortened(t, generator) for t in texts],
            padding="max_length",
            max_length=LENGTH,
            truncation=True,
            return_tensors="pt",
        )
        text = F.normalize(encoder(tokens.input_ids.to(device)).text_embeds, dim=-1)
        crop = torch.from_numpy(generator.integers(CROPS, size=len(texts))).to(device)
        picture = F.normalize(projection(features[targets, crop]), dim=-1)
        logits = text @ picture.T / 0.07
        loss = (F.cross_entropy(logits, targets) + F.cross_entropy(logits.T, targets)) / 2
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        if (step + 1) % 50 == 0:
            right = (logits.argmax(1) == targets).float().mean()
            print(
                f"width {width} step {step + 1}/{steps} loss {loss:.3f} retrieval {right:.2f}",
                flush=True,
            )
    return encoder.eval()


def train(data: Path, out: Path, steps: int) -> None:
    if out.exists():
        print(f"{out} is there already; without it, the text encoders are trained anew")
        return
    rows = captions_of(data)
    texts = [row["text"] for row in rows]
    features = picture_features(data, rows, usable_device())
    tokenizer = learn_tokenizer(texts)
    lengths = [len(tokenizer(t).input_ids) for t in texts]
    print(f"{len(tokenizer)} tokens in the vocabulary; captions take {min(lengths)}-{max(lengths)}")
    with atomic_folder(out) as folder:
        for number, (width, depth) in enumerate(WIDTHS_AND_DEPTHS):
            suffix = "" if number == 0 else f"_{number + 1}"
            encoder = train_encoder(tokenizer, texts, features, width, depth, steps, seed=number)
            encoder.save_pretrained(folder / f"text_encoder{suffix}")
            tokenizer.save_pretrained(folder / f"tokenizer{suffix}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path("runs/pocket/dataset"))
    parser.add_argument("--out", type=Path, default=Path("runs/pocket/text"))
    parser.add_argument("--steps", type=int, default=400)
    arguments = parser.parse_args()
    train(arguments.data, arguments.out, arguments.steps)
