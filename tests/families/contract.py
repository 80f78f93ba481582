"""What every family must do, proved on a tiny pipeline of its real classes.

A family's test file holds one subclass of `FamilyContract` that builds the pipeline.
"""

import copy
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import diffusers
import numpy as np
import pytest
import torch
from diffusers import DiffusionPipeline, FlowMatchEulerDiscreteScheduler
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor

import diffusion4k  # noqa: F401 - the F=16 autoencoder's class, for plain diffusers
from benchmarks.measured import counted_flops
from diffusion4k.accounting.blueprint import Blueprint
from diffusion4k.accounting.stages import (
    decoding_stage,
    denoising_stage,
    image_encoding_stage,
    text_encoding_stage,
)
from diffusion4k.data.pixels import normalised
from diffusion4k.families import families, family_of
from diffusion4k.families.spatial import SpatialCall
from diffusion4k.families.stages import StageOptions
from diffusion4k.lora import FILE_NAME, read_adapter
from diffusion4k.objectives import (
    Composed,
    FlowMatching,
    LatentWaveletDiffusion,
    Objective,
    SnrHuberWavelet,
    WaveletFlow,
)
from diffusion4k.sampling import Request, Sampler
from diffusion4k.sampling.image_to_image import from_latents, with_parts
from diffusion4k.sampling.staged import refine, stage_latents
from diffusion4k.sampling.stages import Stage
from diffusion4k.sampling.wavelet_guidance import WaveletGuidance
from diffusion4k.sampling.windows import StageTransformer, Windows, shifted
from diffusion4k.training.checkpoint.merge import merge_lora
from diffusion4k.training.loop import train
from diffusion4k.training.recipe.recipe import Recipe
from diffusion4k.training.step import denoising_loss
from diffusion4k.training.step_cost import TrainingSetup, training_stages
from tests.data.fake import make_folder
from tests.families.steps import StepsContract

PROMPT, NEGATIVE = "a red cat", "blurred"
OBJECTIVES = (
    FlowMatching(),
    WaveletFlow(),
    WaveletFlow(space="velocity", band_weights=(1, 2, 2, 4)),
    WaveletFlow(wavelet="db2"),
    SnrHuberWavelet(),
    LatentWaveletDiffusion(),
    Composed("latents"),
)
WEIGHTS = "transformer/diffusion_pytorch_model.safetensors"


class FamilyContract(StepsContract):
    """Tests of a family; the attributes are what a subclass may change."""

    factor: int | None = 8
    """At which the stock pipeline runs unchanged."""
    width, height = 96, 64
    guidances: tuple[float, ...] = (4.0, 1.0)
    stock_options: ClassVar[dict[str, Any]] = {}
    """Of the stock pipeline's call, which our path must choose by itself."""
    training_options: ClassVar[dict[str, Any]] = {"guidance_scale": 1.0}
    """Of the stock pipeline's call, for one prediction as in training."""
    guidance_tolerance = 1e-3
    least_steps = 1
    """Of the shortest schedule."""
    sigma = 0.6
    """At which the velocity is compared."""

    @staticmethod
    def build(folder: Path) -> Path:
        """Save the tiny pipeline in the hub's layout."""
        raise NotImplementedError

    @pytest.fixture(scope="class")
    @classmethod
    def model(cls, tmp_path_factory: pytest.TempPathFactory) -> Path:
        with torch.random.fork_rng():
            torch.manual_seed(0)
            return cls.build(tmp_path_factory.mktemp("family") / "model")

    def packed(self, stock: Any, latents: Tensor) -> Tensor:
        """Latents as the stock pipeline's `latents` argument takes them."""
        return latents

    def from_sigma(self, sigma: float) -> dict[str, Any]:
        """Arguments of the stock pipeline's call, for a schedule that begins there."""
        return {"sigmas": [sigma]}

    def stock_guidance(self, stock: Any, guidance: float, negative: str = "") -> dict[str, Any]:
        """Guidance and negative prompt as arguments of the stock pipeline's call."""
        return {"guidance_scale": guidance} | ({"negative_prompt": negative} if negative else {})

    def test_sampling_is_the_stock_pipeline_s(self, model: Path) -> None:
        sampler = Sampler(model, factor=self.factor)
        stock = _stock(model)
        for guidance in self.guidances:
            guided = guidance > 1 and sampler.family.guidance_kind(model) == "classifier-free"
            negative = NEGATIVE if guided else ""
            settings = sampler.settle(
                Request(
                    prompt=PROMPT,
                    seed=5,
                    negative_prompt=negative,
                    width=self.width,
                    height=self.height,
                    steps=3,
                    guidance=guidance,
                )
            )
            expected = stock(
                prompt=PROMPT,
                width=self.width,
                height=self.height,
                num_inference_steps=3,
                generator=torch.Generator().manual_seed(5),
                output_type="np",
                **self.stock_guidance(stock, guidance, negative) | self.stock_options,
            ).images[0]
            assert expected.std() > 0.01
            with torch.no_grad():
                latents = sampler.denoise(settings)
                decoded = sampler.family.decode_latents(sampler.pipeline.vae, latents)
            found = (decoded[0] / 2 + 0.5).clamp(0, 1).permute(1, 2, 0).numpy()
            assert np.abs(found - expected).max() < 1e-4
            image = np.asarray(sampler.sample(settings), np.float32) / 255
            assert np.abs(image - expected).max() < 1.01 / 255

    def test_bfloat16_makes_an_image(self, model: Path) -> None:
        sampler = Sampler(model, dtype="bfloat16")
        size = {"width": self.width, "height": self.height}
        image = sampler.sample(sampler.settle(Request(PROMPT, steps=self.least_steps, **size)))
        assert image.size == (self.width, self.height)
        assert np.asarray(image).std() > 1

    def test_velocity_is_the_stock_pipeline_s(self, model: Path) -> None:
        """One Euler step from sigma to 0 goes from z to z - sigma * velocity."""
        family = family_of(model, self.factor)
        stock = _stock(model)
        stock.scheduler = FlowMatchEulerDiscreteScheduler()
        sigma = self.sigma
        noisy = self.random_latents(stock)
        stepped = stock(
            prompt=PROMPT,
            width=self.width,
            height=self.height,
            num_inference_steps=1,
            **self.from_sigma(sigma),
            latents=self.packed(stock, noisy),
            output_type="latent",
            **self.stock_options | self.training_options,
        ).images
        stepped = family.spatial_latents(stepped, stock.vae, self.width, self.height)
        with torch.no_grad():
            found = family.velocity(
                family.load_transformer(model, dtype=torch.float32),
                noisy,
                torch.tensor([sigma]),
                self.conditioning(model),
            )
        torch.testing.assert_close(found, (noisy - stepped) / sigma, rtol=1e-4, atol=1e-4)

    def test_conditioning_is_known_without_a_caption(self, model: Path) -> None:
        family, real = family_of(model), self.conditioning(model)
        empty = family.empty_conditioning(model, 1)
        assert {k: (v.shape, v.dtype) for k, v in empty.items()} == {
            k: (v.shape, v.dtype) for k, v in real.items()
        }

    def test_every_part_can_be_planned(self, model: Path) -> None:
        """Nothing of a family asks for contents where only shapes are; FLOPs are the real ones."""
        family, blueprint = family_of(model), Blueprint(model)
        options = {"guided": False, "gpu": False}
        side = 2 * family.size_step
        stage = denoising_stage(blueprint, side, side, torch.float32, **options)
        transformer = family.load_transformer(model, dtype=torch.float32)
        channels, rows = blueprint.latent_channels, side // family.factor
        # Captions count with all their tokens.
        conditioning = {
            name: torch.ones(tensor.shape, dtype=tensor.dtype)
            for name, tensor in family.empty_conditioning(model, 1).items()
        }
        noisy, sigma = torch.randn(1, channels, rows, rows), torch.tensor([0.5])
        with torch.no_grad():
            real = counted_flops(lambda: family.velocity(transformer, noisy, sigma, conditioning))
        assert stage.flops == pytest.approx(real, rel=0.02)
        assert text_encoding_stage(blueprint, torch.float32, gpu=False).flops > 0
        assert image_encoding_stage(blueprint, side, side, gpu=False).flops > 0
        assert decoding_stage(blueprint, side, side, torch.float32, gpu=True).flops > 0
        for checkpointing in (False, True):
            setup = TrainingSetup(side, side, 1, FlowMatching(), checkpointing, bfloat16=True)
            step, update = training_stages(blueprint, setup, gpu=True)
            assert step.flops > 2 * stage.flops and update.peak > 0

    @pytest.mark.parametrize("objective", OBJECTIVES, ids=str)
    def test_every_objective_trains(self, model: Path, objective: Objective) -> None:
        family = family_of(model)
        transformer = family.load_transformer(model, dtype=torch.float32)
        conditioning = self.conditioning(model)
        batch = {name: torch.cat([value, value]) for name, value in conditioning.items()}
        channels = self.random_latents(_stock(model)).shape[1]
        latents, noise = torch.randn(2, 2, channels, 4, 6)
        losses = denoising_loss(
            family,
            transformer,
            objective,
            latents=latents,
            conditioning=batch,
            noise=noise,
            sigma=torch.tensor([0.2, 0.9]),
        )
        losses.mean().backward()
        assert losses.shape == (2,) and losses.isfinite().all()
        gradients = [p.grad for p in transformer.parameters() if p.grad is not None]
        assert sum(g.abs().sum() for g in gradients) > 0
        assert all(g.isfinite().all() for g in gradients)

    def test_a_run_is_cached_resumed_and_reloaded(self, model: Path, tmp_path: Path) -> None:
        photographs = make_folder(tmp_path / "photographs", [(128, 128), (192, 128)])

        def recipe(output: str, steps: int) -> Recipe:
            return Recipe.model_validate(
                {
                    "model": str(model),
                    "data": str(photographs),
                    "output": str(tmp_path / output),
                    "cache": str(tmp_path / "cache"),
                    "resolution": 128,
                    "steps": steps,
                    "batch_size": 2,
                    "caption_dropout": 0.5,
                    "optimizer": {"learning_rate": 1e-3},
                    "checkpoint": {"every": 1},
                    "validation": {
                        "every": 2,
                        "samples": 2,
                        "prompts": [PROMPT],
                        "sampling_steps": self.least_steps,
                    },
                }
            )

        whole = train(recipe("whole", 2))
        train(recipe("parts", 1))
        result = train(recipe("parts", 2))
        weights, base = load_file(result / WEIGHTS), load_file(model / WEIGHTS)
        assert all(torch.equal(v, weights[k]) for k, v in load_file(whole / WEIGHTS).items())
        assert any(not torch.equal(v, weights[k]) for k, v in base.items())
        assert (result.parent / "validation/step-000002/01.png").is_file()

        sampler = Sampler(result)
        side = {"width": 128, "height": 64}
        settings = sampler.settle(
            Request(PROMPT, seed=1, steps=self.least_steps, guidance=0, **side)
        )
        reloaded = _stock(result)
        assert self.stock_factor(reloaded) == sampler.family.factor
        expected = reloaded(
            prompt=PROMPT,
            num_inference_steps=self.least_steps,
            generator=torch.Generator().manual_seed(1),
            output_type="np",
            **side,
            **self.stock_guidance(reloaded, 0.0) | self.stock_options,
        ).images[0]
        image = np.asarray(sampler.sample(settings), np.float32) / 255
        assert np.abs(image - expected).max() < 1.01 / 255

    def test_adapters_are_trained_loaded_and_merged(self, model: Path, tmp_path: Path) -> None:
        """The reference adds `B A` of the file to the weights by hand: alpha is the rank in it."""
        keys = {
            "model": str(model),
            "data": str(make_folder(tmp_path / "photographs", [(128, 128)])),
            "output": str(tmp_path / "run"),
            "resolution": 128,
            "lora": {"rank": 2, "alpha": 6},
            "optimizer": {"learning_rate": 0.1},
            "validation": {"every": None},
        }
        train(Recipe.model_validate(keys | {"steps": 1}))
        folder = train(Recipe.model_validate(keys | {"steps": 2}))
        whole = Recipe.model_validate(keys | {"steps": 2, "output": str(tmp_path / "whole")})
        assert read_adapter(train(whole)).fingerprint == read_adapter(folder).fingerprint

        sampler = Sampler(model, lora=folder, factor=self.factor)
        settings = sampler.settle(
            Request(PROMPT, seed=5, width=self.width, height=self.height, steps=2, guidance=0)
        )
        found = sampler.denoise(settings)
        by_hand = Sampler(model, factor=self.factor)
        assert (by_hand.denoise(settings) - found).abs().max() > 1e-2
        adapters = load_file(folder / FILE_NAME)
        weights = by_hand.pipeline.transformer.state_dict()
        layers = {key.split(".lora_")[0] for key in adapters}
        assert {name.split(".")[-1] for name in layers} >= {"to_q", "to_k", "to_v", "0"}
        for layer in layers:
            product = adapters[f"{layer}.lora_B.weight"] @ adapters[f"{layer}.lora_A.weight"]
            weights[f"{layer.removeprefix('transformer.')}.weight"] += product
        torch.testing.assert_close(by_hand.denoise(settings), found, rtol=0, atol=1e-4)
        merged = Sampler(merge_lora(folder, model, tmp_path / "merged"), factor=self.factor)
        torch.testing.assert_close(merged.denoise(settings), found, rtol=0, atol=1e-4)
        if hasattr(sampler.pipeline, "load_lora_weights"):
            stock = Sampler(model, factor=self.factor)
            stock.pipeline.load_lora_weights(folder)
            torch.testing.assert_close(stock.denoise(settings), found, rtol=0, atol=1e-5)

    def test_starting_from_an_image_is_the_stock_pipeline_s(
        self, model: Path, tmp_path: Path
    ) -> None:
        sampler = Sampler(model, factor=self.factor)
        path = tmp_path / "init.png"
        # Not flat anywhere: norms would blow rounding errors up, and ours sum in another order.
        pixels = np.random.default_rng(0).integers(0, 256, (32, 48, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(path)
        size = {"width": self.width, "height": self.height}
        request = Request(PROMPT, seed=5, steps=6, guidance=0, init=path, strength=0.35, **size)
        found = sampler.denoise(sampler.settle(request))
        # Not all stock pipelines resize the image to the size asked for.
        image = Image.open(path).resize((self.width, self.height), Image.Resampling.LANCZOS)
        stock = _stock(model)
        expected = self.stock_image_to_image(
            stock,
            image,
            strength=0.35,
            num_inference_steps=6,
            generator=torch.Generator().manual_seed(5),
            output_type="latent",
            **size,
            **sampler.family.call_arguments(self.conditioning(model), guidance=0.0),
        )
        expected = sampler.family.spatial_latents(expected, stock.vae, self.width, self.height)
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-4)

    def test_one_stage_is_the_stock_pipeline_s_image_to_image(self, model: Path) -> None:
        """Without enlargement: the image at once, and in windows as large as it is."""
        family, stock = family_of(model, self.factor), _stock(model)
        rng = np.random.default_rng(0)
        picture = rng.integers(0, 256, (self.height, self.width, 3), dtype=np.uint8)
        stage = Stage(
            *(self.width, self.height),
            steps=6,
            guidance=4.0,
            factor=family.factor,
            strength=0.5,
        )
        guided = family.guidance_kind(model) == "classifier-free"
        encoders = family.load_text_encoders(model, dtype=torch.float32)
        negative = family.encode_text(encoders, [NEGATIVE], negative=True) if guided else None
        options = family.call_arguments(self.conditioning(model), guidance=4.0, negative=negative)
        expected = self.stock_image_to_image(
            stock,
            Image.fromarray(picture),
            strength=0.5,
            num_inference_steps=6,
            width=self.width,
            height=self.height,
            generator=torch.Generator().manual_seed(5),
            output_type="latent",
            **options,
        )
        expected = family.spatial_latents(expected, stock.vae, self.width, self.height)
        for windowed in (stage, replace(stage, window=64, grid="shifted")):
            generator = torch.Generator().manual_seed(5)
            latents = stage_latents(family, stock.vae, picture, windowed, generator, None)
            found = refine(
                family.load_pipeline(model, dtype=torch.float32, text_encoders=False),
                family,
                latents,
                windowed,
                enlargement=1.0,
                seed=0,
                generator=generator,
                timestep_shift=lambda tokens: family.timestep_shift(model, tokens, stage.steps),
                **options,
            )
            torch.testing.assert_close(found, expected, rtol=0, atol=1e-4)

    def stock_image_to_image(self, stock: Any, image: Image.Image, **options: Any) -> Tensor:
        """What the stock image-to-image pipeline makes of the image, as latents."""
        name = families()[type(stock).__name__].image_to_image_class
        if name is None:
            return self.image_to_image_by_hand(stock, normalised(np.array(image)), **options)
        return getattr(diffusers, name)(**stock.components)(image=image, **options).images

    def image_to_image_by_hand(
        self,
        stock: Any,
        image: Tensor,
        *,
        strength: float,
        num_inference_steps: int,
        generator: torch.Generator,
        **options: Any,
    ) -> Tensor:
        """The loop of stock image-to-image pipelines, for families that diffusers has none for."""
        scheduler = copy.deepcopy(stock.scheduler)
        self.set_stock_timesteps(scheduler, num_inference_steps)
        first = int(num_inference_steps - num_inference_steps * strength)
        scheduler.set_begin_index(first)
        scale = options.get("guidance_scale", 0.0)
        with torch.no_grad():
            latents = self.stock_latents(stock.vae, image, generator)
            noise = torch.randn(latents.shape, generator=generator)
            start = scheduler.timesteps[first : first + 1]
            if hasattr(scheduler, "scale_noise"):
                latents = scheduler.scale_noise(latents, start, noise)
            else:
                latents = scheduler.add_noise(latents, noise, start)
            for t in scheduler.timesteps[first:]:
                predicted = [
                    self.stock_prediction(
                        stock.transformer,
                        latents,
                        t[None],
                        options[f"{name}prompt_embeds"],
                        options.get(f"{name}prompt_attention_mask"),
                    )
                    for name in ("", "negative_")
                    if f"{name}prompt_embeds" in options
                ]
                with_text, without = predicted[0], predicted[-1]
                guided = without + max(scale, 1.0) * (with_text - without)
                latents = scheduler.step(guided, t, latents).prev_sample
        return self.stock_result(stock, latents)

    def set_stock_timesteps(self, scheduler: Any, steps: int) -> None:
        """Set the timesteps that the stock pipeline's call sets at the size of the test."""
        scheduler.set_timesteps(steps)

    def stock_result(self, stock: Any, latents: Tensor) -> Tensor:
        """Normalised latents as the stock pipeline returns them."""
        return latents

    def stock_latents(self, vae: Any, image: Tensor, generator: torch.Generator) -> Tensor:
        """Normalised latents to start from."""
        return vae.encode(image).latent_dist.sample(generator) * vae.config.scaling_factor

    def stock_prediction(
        self, transformer: Any, latents: Tensor, timestep: Tensor, embeds: Tensor, mask: Any
    ) -> Tensor:
        """What the stock pipeline makes of the transformer's output."""
        found = transformer(
            latents,
            encoder_hidden_states=embeds,
            encoder_attention_mask=mask,
            timestep=timestep,
            return_dict=False,
        )[0]
        return found[:, : latents.shape[1]]

    def test_windows_are_pictures_of_their_own(self, model: Path) -> None:
        """Two windows, side by side: what the family's own velocity gives of each half."""
        family, stock = family_of(model, self.factor), _stock(model)
        latents = self.random_latents(stock)
        rows, columns = latents.shape[-2:]
        latents = latents[..., : min(rows, columns) // 4 * 2].repeat(1, 1, 1, 2)
        side = latents.shape[-1] // 2
        latents = latents[:, :, :side] + torch.randn(1, 1, side, 2 * side)
        conditioning, sigma = self.conditioning(model), torch.tensor([0.6])
        transformer = family.load_transformer(model, dtype=torch.float32)
        tokens = (side * family.factor // family.size_step) ** 2
        windows = _FixedGrid(side, tokens, "shifted", seed=0)
        around = StageTransformer(transformer, family, side, 2 * side, windows=windows)
        with torch.no_grad():
            halves = [
                family.velocity(transformer, half, sigma, conditioning)
                for half in latents.split(side, dim=-1)
            ]
            found = family.velocity(around, latents, sigma, conditioning)
        torch.testing.assert_close(found, torch.cat(halves, dim=-1), rtol=1e-4, atol=1e-5)

    def test_full_guidance_gives_the_reference(self, model: Path) -> None:
        """Of all sub-bands at weight 1: the clean latents are the reference at every step."""
        family = family_of(model, self.factor)
        pipeline = family.load_pipeline(model, dtype=torch.float32, text_encoders=False)
        start, reference = self.random_latents(pipeline), self.random_latents(pipeline) * 0.5 + 1
        guidance = WaveletGuidance(reference, 0, wavelet="haar", weight=1.0, falling=False)
        around = StageTransformer(
            pipeline.transformer, family, *reference.shape[-2:], guidance=guidance
        )
        found = from_latents(
            with_parts(pipeline, family.pipeline_class, transformer=around),
            family,
            start,
            steps=6,
            strength=0.5,
            generator=torch.Generator().manual_seed(5),
            width=self.width,
            height=self.height,
            output_type="latent",
            **family.call_arguments(self.conditioning(model), guidance=0.0),
        ).images
        found = family.spatial_latents(found, pipeline.vae, self.width, self.height)
        torch.testing.assert_close(found, reference, rtol=0, atol=self.guidance_tolerance)

    def test_an_image_in_stages(self, model: Path) -> None:
        sampler = Sampler(model, factor=self.factor)
        step = sampler.family.size_step
        options = StageOptions(window=2, strength=0.5)
        request = Request(
            PROMPT, 1, width=6 * step, height=4 * step, steps=2, guidance=0.0, draft=3 * step
        )
        settings = sampler.settle(request.model_copy(update={"stage_options": options}))
        assert [stage.name for stage in settings.stages or ()] == [
            f"{3 * step}x{2 * step}",
            f"{6 * step}x{4 * step}",
        ]
        image = sampler.sample(settings)
        assert image.size == (6 * step, 4 * step) and np.asarray(image).std() > 1

    def test_little_memory_makes_the_same_image(self, model: Path) -> None:
        few, plain = Sampler(model, memory="low"), Sampler(model)
        side = 2 * few.family.size_step
        settings = few.settle(
            Request(PROMPT, width=side, height=side, steps=self.least_steps, guidance=0)
        )
        assert few.sample(settings).tobytes() == plain.sample(settings).tobytes()

    def stock_factor(self, stock: Any) -> int:
        """Pixels a side of one latent, by the stock pipeline."""
        return stock.vae_scale_factor

    def random_latents(self, stock: Any) -> Tensor:
        """Normalised latents of the size of the test."""
        factor, channels = self.stock_factor(stock), stock.vae.config.latent_channels
        generator = torch.Generator().manual_seed(2)
        size = (self.height // factor, self.width // factor)
        return torch.randn(1, channels, *size, generator=generator)

    def conditioning(self, model: Path) -> dict[str, Tensor]:
        """Of the prompt, by the family."""
        family = family_of(model)
        encoders = family.load_text_encoders(model, dtype=torch.float32)
        return family.encode_text(encoders, [PROMPT])


class _FixedGrid(Windows):
    """A shifted grid that begins at the image's corner."""

    def _axes(self, call: SpatialCall, cache: Any) -> Any:
        height, width = call.latents.shape[-2:]
        return shifted(height, self.side, 0), shifted(width, self.side, 0)


def _stock(model: Path) -> Any:
    stock = DiffusionPipeline.from_pretrained(model)
    stock.set_progress_bar_config(disable=True)
    return stock
