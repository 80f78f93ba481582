"""Scores by CLIP: LAION's aesthetic predictor, and how well picture and caption match.

    aesthetic = MLP(e / |e|)            e: CLIP's image embedding; the MLP has no activations
    match     = 100 max(0, cos(e, t))   t: CLIP's text embedding, as CLIPScore counts

Sources: LAION-AI/aesthetic-predictor (sac+logos+ava1-l14-linearMSE), Hessel et al., CLIPScore,
arXiv 2104.08718.
"""

import hashlib
import re
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from diffusion4k.errors import Diffusion4kError

if TYPE_CHECKING:
    from PIL import Image
    from torch import Tensor

__all__ = ["ClipScorer", "load_scorer"]

_MEAN = (0.48145466, 0.4578275, 0.40821073)
_STD = (0.26862954, 0.26130258, 0.27577711)


class ClipScorer:
    """CLIP from a folder or the hub, and the aesthetic predictor's weights if wanted.

    Raises:
        Diffusion4kError: one of them cannot be loaded, or they do not fit each other.
    """

    def __init__(self, clip: str, aesthetic: str | None) -> None:
        from transformers import CLIPModel, CLIPTokenizer

        try:
            self._model = CLIPModel.from_pretrained(clip).eval()
            self._tokenizer = CLIPTokenizer.from_pretrained(clip, model_max_length=77)
        except (OSError, ValueError, TypeError) as error:
            reason = " ".join(str(error).split())[:200]
            raise Diffusion4kError(
                f"scores.clip: {clip}: no CLIP model loads from there ({reason}): give its folder "
                "or hub id, such as openai/clip-vit-large-patch14"
            ) from None
        self._layers = _read_predictor(aesthetic) if aesthetic else []
        width = self._model.config.projection_dim
        if self._layers and self._layers[0][0].shape[1] != width:
            raise Diffusion4kError(
                f"scores.aesthetic: {aesthetic}: made for embeddings of "
                f"{self._layers[0][0].shape[1]} numbers, {clip} gives {width}: use ViT-L/14"
            )
        self.side = int(self._model.config.vision_config.image_size)

    def embed(self, picture: "Image.Image") -> "Tensor":
        """`(D,)` of length one: shorter side resized (bicubic), central square."""
        import numpy as np
        import torch
        from PIL import Image

        scale = self.side / min(picture.size)
        size = [max(self.side, round(side * scale)) for side in picture.size]
        small = picture.resize((size[0], size[1]), Image.Resampling.BICUBIC)
        left, top = ((side - self.side) // 2 for side in size)
        square = small.crop((left, top, left + self.side, top + self.side))
        values = (np.asarray(square, np.float32) / 255 - _MEAN) / _STD
        pixels = torch.from_numpy(values.astype(np.float32)).permute(2, 0, 1)[None].contiguous()
        with torch.inference_mode():
            pooled = self._model.vision_model(pixel_values=pixels).pooler_output
            return _unit(self._model.visual_projection(pooled)[0])

    def aesthetic(self, embedding: "Tensor") -> float:
        """The predictor's score, about 1 to 10."""
        for weight, bias in self._layers:
            embedding = weight @ embedding + bias
        return float(embedding[0])

    def match(self, embedding: "Tensor", text: str) -> float:
        """0 to 100; of a long text the first 77 tokens count."""
        import torch

        tokens = self._tokenizer(text, truncation=True, max_length=77, return_tensors="pt")
        length = self._model.config.text_config.max_position_embeddings
        tokens = {name: value[:, :length] for name, value in tokens.items()}
        with torch.inference_mode():
            pooled = self._model.text_model(**tokens).pooler_output
            words = _unit(self._model.text_projection(pooled)[0])
            return 100 * max(0.0, float(embedding @ words))

    def fingerprint(self) -> str:
        """Hash of all weights."""
        digest = hashlib.sha256()
        for name, value in sorted(self._model.state_dict().items()):
            digest.update(name.encode() + value.contiguous().cpu().numpy().tobytes())
        for weight, bias in self._layers:
            digest.update(weight.numpy().tobytes() + bias.numpy().tobytes())
        return digest.hexdigest()


@lru_cache(maxsize=1)
def load_scorer(clip: str, aesthetic: str | None) -> ClipScorer:
    """The scorer, loaded once in a process."""
    return ClipScorer(clip, aesthetic)


def _unit(vector: "Tensor") -> "Tensor":
    return vector / vector.norm()


def _read_predictor(name: str) -> list[tuple[Any, Any]]:
    """Weight and bias of each linear layer, in their order."""
    from diffusion4k.metrics.weights import find_weights, read_weights

    weights = read_weights(find_weights(name))
    layers: dict[int, dict[str, Any]] = {}
    for key, value in weights.items():
        number = re.fullmatch(r"(?:layers\.)?(\d+)\.(weight|bias)", key)
        if number:
            layers.setdefault(int(number[1]), {})[number[2]] = value.float()
    found = [(layers[n].get("weight"), layers[n].get("bias")) for n in sorted(layers)]
    if not found or any(w is None or b is None or w.ndim != 2 for w, b in found):
        raise Diffusion4kError(
            f"scores.aesthetic: {name}: no linear layers `layers.N.weight` and `.bias` in it: give "
            "sac+logos+ava1-l14-linearMSE.pth"
        )
    return found
