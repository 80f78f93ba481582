"""CLIP, as several metrics use it: embeddings of pictures and of texts, each of length one.

A picture is seen as OpenAI's model expects it: the shorter side resized to the model's (224 or 336;
bicubic with antialiasing, by Pillow), the central square, CLIP's mean and deviation. A text has at
most 75 tokens between start and end; `LongTexts` says what becomes of a longer one:

- `cut`: the first 75 tokens, then the end token, as CLIP's own tokenizer cuts.
- `mean`: the tokens in as few chunks as they fit in, of equal length; the mean of their embeddings.
- `torchmetrics`: the first 76 tokens *without* the end token, as torchmetrics 1.x cuts. CLIP's
  embedding is read at the end token, and where that is missing at the first position, which sees
  nothing of the text: every long text gets one and the same embedding. Published scores that were
  computed with torchmetrics (those of Diffusion-4K are) have this; use it only to reproduce them.

Source: Radford et al., arXiv 2103.00020. Weights: transformers' layout, from a folder or the hub.
"""

from collections.abc import Callable
from threading import Lock
from typing import TYPE_CHECKING, Literal, TypeAlias

import numpy as np

from diffusion4k.errors import Diffusion4kError, UsageError
from diffusion4k.metrics.weights import fingerprint, load_model, one_line

if TYPE_CHECKING:
    from PIL import Image
    from torch import Tensor
    from transformers import CLIPTokenizer

__all__ = ["Clip", "LongTexts", "crop_then_resize", "resize_then_crop"]

LongTexts = Literal["cut", "mean", "torchmetrics"]
"""What becomes of a text that CLIP cannot read whole; see the module's text."""

ToSquare: TypeAlias = "Callable[[Image.Image, int], Image.Image]"

_MEAN = (0.48145466, 0.4578275, 0.40821073)
_STD = (0.26862954, 0.26130258, 0.27577711)
_BYTES = 512  # tokens that every CLIP tokenizer has: each byte, within a word and at its end


def resize_then_crop(picture: "Image.Image", side: int) -> "Image.Image":
    """Shorter side to `side`, then the central square: as CLIP's pre-processing does."""
    from PIL import Image

    short = min(picture.size)
    width, height = (side if x == short else int(side * x / short) for x in picture.size)
    left, top = (width - side) // 2, (height - side) // 2
    small = picture.resize((width, height), Image.Resampling.BICUBIC)
    return small.crop((left, top, left + side, top + side))


def crop_then_resize(picture: "Image.Image", side: int) -> "Image.Image":
    """The central square, then resized: the same but for less than a pixel."""
    from PIL import Image

    short = min(picture.size)
    left, top = (picture.width - short) // 2, (picture.height - short) // 2
    square = picture.crop((left, top, left + short, top + short))
    return square.resize((side, side), Image.Resampling.BICUBIC)


class Clip:
    """A CLIP model with its tokenizer; may be used from several threads.

    Args:
        name: folder or hub id in transformers' layout, or that with `#sha256=...`.
        texts: whether texts are embedded: without them no tokenizer is needed.

    Raises:
        Diffusion4kError: it cannot be loaded.
    """

    def __init__(self, name: str, device: str = "cpu", *, texts: bool = True) -> None:
        from transformers import CLIPModel

        self.name = name.partition("#")[0]
        self._model = load_model(CLIPModel, name, "openai/clip-vit-large-patch14").to(device)
        self._device = device
        words = self._model.config.text_config.vocab_size
        self._tokenizer = _tokenizer(self.name, words) if texts else None
        # A fast tokenizer refuses to be used by two threads at once.
        self._lock = Lock()
        config = self._model.config
        self.side = int(config.vision_config.image_size)
        self.width = int(config.projection_dim)
        self.longest = int(config.text_config.max_position_embeddings)

    @property
    def scale(self) -> float:
        """What a cosine is multiplied by to give the model's logit."""
        return float(self._model.logit_scale.exp())

    def embed(self, picture: "Image.Image", square: ToSquare = resize_then_crop) -> "Tensor":
        """`(D,)` of length one, of an RGB picture."""
        import torch

        small = square(picture, self.side)
        values = (np.asarray(small, np.float32) / 255 - _MEAN) / _STD
        pixels = torch.from_numpy(values.astype(np.float32)).permute(2, 0, 1)[None].contiguous()
        with torch.inference_mode():
            pooled = self._model.vision_model(pixel_values=pixels.to(self._device)).pooler_output
            return self._unit(self._model.visual_projection(pooled)[0])

    def embed_text(self, text: str, long: LongTexts = "cut") -> "Tensor":
        """`(D,)` of length one."""
        import torch

        inputs = [torch.tensor([ids], device=self._device) for ids in self._chunks(text, long)]
        with torch.inference_mode():
            pooled = [self._model.text_model(input_ids=ids).pooler_output for ids in inputs]
            units = [self._unit(self._model.text_projection(x)[0]) for x in pooled]
            return units[0] if len(units) == 1 else self._unit(torch.stack(units).mean(0))

    def is_long(self, text: str) -> bool:
        """Whether the text has more tokens than the model takes."""
        return len(self._tokens(text)) + 2 > self.longest

    def fingerprint(self) -> str:
        """Changes with the weights."""
        return fingerprint(self._model.state_dict())

    def _tokens(self, text: str) -> list[int]:
        """Tokens of a text, without start and end."""
        if self._tokenizer is None:
            raise UsageError(f"{self.name}: loaded for pictures only, asked for a text")
        with self._lock:
            found = self._tokenizer(text, add_special_tokens=False, verbose=False)
        return list(found["input_ids"])

    def _chunks(self, text: str, long: LongTexts) -> list[list[int]]:
        """What the model is given, one or several times."""
        tokens = self._tokens(text)
        assert self._tokenizer is not None
        start, end = self._tokenizer.bos_token_id, self._tokenizer.eos_token_id
        room = self.longest - 2
        if long == "torchmetrics":
            return [[start, *tokens, end][: self.longest]]
        if long == "cut" or len(tokens) <= room:
            return [[start, *tokens[:room], end]]
        parts = np.array_split(np.array(tokens), -(-len(tokens) // room))
        return [[start, *part.tolist(), end] for part in parts]

    def _unit(self, vector: "Tensor") -> "Tensor":
        length = vector.norm()
        if not 0 < float(length) < float("inf"):
            raise Diffusion4kError(f"{self.name}: gives an embedding of length {float(length)}")
        return (vector / length).cpu()


def _tokenizer(name: str, vocabulary: int) -> "CLIPTokenizer":
    """The tokenizer, with at most `vocabulary` tokens."""
    from transformers import CLIPTokenizer

    advice = "copy tokenizer.json, or vocab.json and merges.txt, beside the weights"
    try:
        tokenizer = CLIPTokenizer.from_pretrained(name)
    except Exception as error:
        raise Diffusion4kError(
            f"{name}: no CLIP tokenizer loads from there ({one_line(error)}): {advice}"
        ) from None
    # Without its files transformers makes an empty one and says nothing.
    if not _BYTES <= len(tokenizer) <= vocabulary:
        raise Diffusion4kError(
            f"{name}: its tokenizer has {len(tokenizer)} tokens, the model {vocabulary}: {advice}"
        )
    return tokenizer
