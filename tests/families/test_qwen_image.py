"""The Qwen-Image family against the stock diffusers pipeline."""

import json
import shutil
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from diffusers import (
    AutoencoderKLQwenImage,
    FlowMatchEulerDiscreteScheduler,
    QwenImagePipeline,
    QwenImageTransformer2DModel,
)
from torch import Tensor

from diffusion4k.errors import Diffusion4kError, UsageError
from diffusion4k.families import Defaults, family_of
from diffusion4k.sampling import Request, Sampler
from diffusion4k.training.check import check_recipe
from diffusion4k.training.recipe.recipe import Recipe
from tests.families.contract import FamilyContract
from tests.families.parts import tiny_qwen_vl


def tiny_qwen_image(folder: Path) -> Path:
    """Save a tiny pipeline with the published model's kind of schedule."""
    tokenizer, text_encoder = tiny_qwen_vl()
    QwenImagePipeline(
        transformer=QwenImageTransformer2DModel(
            in_channels=16,
            out_channels=4,
            num_layers=2,
            attention_head_dim=16,
            num_attention_heads=2,
            joint_attention_dim=32,
            axes_dims_rope=(4, 6, 6),
        ).eval(),
        scheduler=FlowMatchEulerDiscreteScheduler(
            use_dynamic_shifting=True,
            base_shift=0.5,
            max_shift=0.9,
            max_image_seq_len=8192,
            shift_terminal=0.02,
        ),
        vae=AutoencoderKLQwenImage(
            base_dim=8,
            z_dim=4,
            num_res_blocks=1,
            latents_mean=[-0.2, 0.1, 0.0, 0.3],
            latents_std=[0.9, 1.1, 1.0, 1.3],
        ).eval(),
        text_encoder=text_encoder,
        tokenizer=tokenizer,
    ).save_pretrained(folder)
    return folder


class TestQwenImage(FamilyContract):
    factor = None
    training_options: ClassVar = {"true_cfg_scale": 1.0}
    least_steps = 2
    build = staticmethod(tiny_qwen_image)

    def packed(self, stock: Any, latents: Tensor) -> Tensor:
        return stock._pack_latents(latents, *latents.shape)

    def stock_guidance(self, stock: Any, guidance: float, negative: str = "") -> dict[str, Any]:
        found: dict[str, Any] = {"true_cfg_scale": guidance}
        return found | ({"negative_prompt": negative} if negative else {})

    def random_latents(self, stock: Any) -> Tensor:
        generator = torch.Generator().manual_seed(2)
        return torch.randn(1, 4, self.height // 8, self.width // 8, generator=generator)

    def test_texts_of_different_length_share_a_batch(self, model: Path) -> None:
        """Padding changes no velocity, and the stock pipeline's batch is the same."""
        family = family_of(model)
        encoders = family.load_text_encoders(model, dtype=torch.float32)
        texts = ["a cat", "a red cat on a mat"]
        batch = family.encode_text(encoders, texts)
        stock, mask = encoders.encode_prompt(texts)
        tokens = stock.shape[1]
        assert torch.equal(batch["prompt_embeds"][:, :tokens], stock)
        assert torch.equal(batch["prompt_embeds_mask"][:, :tokens], mask)
        assert not batch["prompt_embeds_mask"][:, tokens:].any()
        transformer = family.load_transformer(model, dtype=torch.float32)
        noisy, sigma = torch.randn(2, 4, 6, 4), torch.tensor([0.3, 0.8])
        with torch.no_grad():
            together = family.velocity(transformer, noisy, sigma, batch)
            for i, text in enumerate(texts):
                rows, none = encoders.encode_prompt([text])
                assert none is None
                alone = {
                    "prompt_embeds": rows,
                    "prompt_embeds_mask": torch.ones(rows.shape[:2], dtype=torch.int64),
                }
                found = family.velocity(transformer, noisy[i : i + 1], sigma[i : i + 1], alone)
                torch.testing.assert_close(found, together[i : i + 1], rtol=1e-4, atol=1e-4)

    def test_no_prompt_is_a_blank(self, model: Path) -> None:
        family = family_of(model)
        encoders = family.load_text_encoders(model, dtype=torch.float32)
        empty, blank = (family.encode_text(encoders, [text], negative=True) for text in ("", " "))
        assert torch.equal(empty["prompt_embeds"], blank["prompt_embeds"])

    def test_strips_decode_and_encode_the_same(self, model: Path) -> None:
        family = family_of(model)
        autoencoder = family.load_autoencoder(model, dtype=torch.float32)
        images = torch.rand(1, 3, 64, 96) * 2 - 1
        with torch.no_grad():
            latents = family.encode_images(autoencoder, images)
            whole = family.decode_latents(autoencoder, latents)
            strips = torch.cat(list(family.decode_strips(autoencoder, latents, "1MiB")), 2)
            posterior = family.encode_posterior(autoencoder, images)
        torch.testing.assert_close(strips, whole, rtol=0, atol=1e-4)
        assert posterior.shape == (1, 8, 8, 12)
        drawn = [
            family.draw_latents(autoencoder, images, torch.Generator().manual_seed(seed), "1MiB")
            for seed in range(2)
        ]
        assert (drawn[0] - drawn[1]).abs().max() < 12 * posterior[:, 4:].max()
        assert not torch.equal(*drawn)

    def test_one_step_is_refused(self, model: Path) -> None:
        """Its schedule ends at a stated noise level, and cannot begin there, too."""
        with pytest.raises(UsageError, match="steps 1: allowed is 2 to"):
            Sampler(model).settle(Request("a cat", steps=1, width=64, height=64))
        keys = {"model": str(model), "data": "pocket", "output": "run", "steps": 1}
        recipe = Recipe.model_validate(
            keys | {"resolution": 64, "validation": {"prompts": ["a cat"], "sampling_steps": 1}}
        )
        with pytest.raises(UsageError, match=r"sampling_steps: found 1, allowed .* at least 2"):
            check_recipe(recipe, family_of(model), model)

    def test_sizes(self, model: Path) -> None:
        family = family_of(model)
        assert family.defaults(model) == Defaults(50, 4.0, 2048, 2048)
        with pytest.raises(UsageError, match=r"factor 16: qwen-image models can do 8: a token of"):
            family_of(model, 16)

    @pytest.mark.parametrize("key", ["zero_cond_t", "use_additional_t_cond", "use_layer3d_rope"])
    def test_a_variant_that_edits_is_refused(self, model: Path, tmp_path: Path, key: str) -> None:
        other = Path(shutil.copytree(model, tmp_path / "model"))
        path = other / "transformer" / "config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | {key: True}))
        with pytest.raises(Diffusion4kError, match=rf"{key} is True: it is a variant that edits"):
            family_of(other)

    @pytest.mark.parametrize("name", ["QwenImageEditPlusPipeline", "FluxKontextPipeline"])
    def test_a_pipeline_that_edits_is_refused(self, model: Path, tmp_path: Path, name: str) -> None:
        other = Path(shutil.copytree(model, tmp_path / "model"))
        path = other / "model_index.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | {"_class_name": name}))
        with pytest.raises(Diffusion4kError, match=rf"a {name} edits .* from text alone here"):
            family_of(other)
