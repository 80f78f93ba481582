"""The Z-Image family against the stock diffusers pipeline.

The family's file and this one are all the code that the fifth family took, but for the tiny Qwen
in `parts`.
"""

from pathlib import Path
from typing import ClassVar

import torch
from diffusers import FlowMatchEulerDiscreteScheduler, ZImagePipeline, ZImageTransformer2DModel

from benchmarks.tiny import tiny_autoencoder
from diffusion4k.families import Defaults, family_of
from tests.families.contract import FamilyContract
from tests.families.parts import tiny_qwen


def tiny_z_image(folder: Path) -> Path:
    """Save a tiny pipeline."""
    tokenizer, text_encoder = tiny_qwen()
    transformer = ZImageTransformer2DModel(
        in_channels=16,
        dim=32,
        n_layers=2,
        n_refiner_layers=1,
        n_heads=2,
        n_kv_heads=2,
        cap_feat_dim=32,
        axes_dims=[4, 6, 6],
        axes_lens=[1024, 64, 64],
    )
    # diffusers leaves the padding tokens at zero; a test needs every path of the network alive.
    torch.nn.init.normal_(transformer.x_pad_token, std=0.02)
    torch.nn.init.normal_(transformer.cap_pad_token, std=0.02)
    ZImagePipeline(
        transformer=transformer,
        scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0),
        vae=tiny_autoencoder(),
        text_encoder=text_encoder,
        tokenizer=tokenizer,
    ).save_pretrained(folder)
    return folder


class TestZImage(FamilyContract):
    guidances = (4.0, 0.0)
    training_options: ClassVar = {"guidance_scale": 0.0}
    build = staticmethod(tiny_z_image)

    def test_texts_of_different_length_share_a_batch(self, model: Path) -> None:
        family = family_of(model)
        encoders = family.load_text_encoders(model, dtype=torch.float32)
        texts = ["a cat", "a red cat on a mat"]
        batch = family.encode_text(encoders, texts)
        stock, _ = encoders.encode_prompt(list(texts), do_classifier_free_guidance=False)
        for rows, mask, expected in zip(*batch.values(), stock, strict=True):
            assert torch.equal(rows[mask], expected)
            assert not rows[~mask].any()

    def test_sizes(self, model: Path) -> None:
        family = family_of(model)
        expected = Defaults(steps=9, guidance=0.0, width=4096, height=4096)
        assert family.defaults(model) == expected
        assert family.max_side(model) == 64 * 32
