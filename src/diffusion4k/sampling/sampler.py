"""One model made ready to turn settings into images, by its family's stock pipeline.

The noise of an image comes from a generator of its own on the CPU, and each image is made alone:
it depends on its settings only, not on the device's random numbers nor on its neighbours.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from diffusion4k.data.pixels import rounded
from diffusion4k.errors import Diffusion4kError, UsageError
from diffusion4k.families import Family, family_of, resolve
from diffusion4k.families.calls import GuidanceKind, is_guided
from diffusion4k.families.defaults import model_memory
from diffusion4k.families.quantization import cast_layers, check_weights_option, load_transformer
from diffusion4k.lora import Adapter, load_adapters
from diffusion4k.models.attention_backend import check_backend, use_backend
from diffusion4k.sampling.cache_option import CacheOption
from diffusion4k.sampling.compiled import check_compiler, compile_blocks
from diffusion4k.sampling.direct import denoise_directly, out_of_memory
from diffusion4k.sampling.fingerprint import fingerprint
from diffusion4k.sampling.image_to_image import with_parts
from diffusion4k.sampling.kept import KeptStages
from diffusion4k.sampling.loras import Scales, read_loras, recorded
from diffusion4k.sampling.memory import Placement, can_stream
from diffusion4k.sampling.request import Request, SamplingSettings, choose_dtype, settle
from diffusion4k.sampling.staged import denoise_stages, stage_strips
from diffusion4k.sampling.stages import Stage
from diffusion4k.support.devices import half_precision, usable_device
from diffusion4k.support.files import sha256_of

__all__ = ["Sampler"]

_TEXTS_ON_GPU = 8


class Sampler:
    """Makes images with one model.

    Text encoders are in memory only while `encode` runs, and never beside the transformer unless
    new prompts come after the first image; the pipeline is loaded with the first image.

    Args:
        model: `pocket`, a folder in diffusers layout, or a hub id.
        device: where to compute; by default a GPU if there is one, else the CPU.
        dtype: `float32`, `bfloat16`, `float16`, or `auto`: bfloat16 on a GPU, float32 on the CPU.
        factor: pixels a side of one latent; by default the family's choice, 16 where it can.
        max_memory: of the autoencoder's feature maps, in bytes or as `"4GiB"`; by default what the
            model's `diffusion4k.json` states, else no limit.
        memory: `low`, `balanced` or `high`; see `sampling.memory`.
        weights: `fp8`, `int8`, `nf4` or `gguf:FILE`; by default those of the model's folder.
        lora: folder or file of a LoRA in any known layout, or several, which add up.
        lora_scale: how strongly it counts, by default 1; 0 is not at all. One for each of several.
        high_resolution: options of `models.high_resolution` in place of those that the model
            states, key by key.
        compile: whether the transformer's blocks are compiled; see `sampling.compiled`.
        attention: `sdpa`, `flash3`, `sage` or `flex`; see `models.attention_backend`.

    Raises:
        Diffusion4kError: the model cannot be found or is not of a supported family; the LoRA
            cannot be read or was made for another model; a package is missing for the weights.
        UsageError: unknown dtype, memory or weights, a memory that is no size, a LoRA scale without
            LoRA, or a factor or options of high resolution that the model cannot do.
    """

    def __init__(
        self,
        model: str | Path = "pocket",
        *,
        device: str | torch.device | None = None,
        dtype: str = "auto",
        max_memory: int | str | None = None,
        factor: int | None = None,
        memory: str = "balanced",
        weights: str | None = None,
        lora: str | Path | Sequence[str | Path] | None = None,
        lora_scale: Scales = None,
        high_resolution: Mapping[str, Any] | None = None,
        compile: bool = False,
        attention: str | None = None,
    ) -> None:
        self.model = str(model)
        self.folder = resolve(model)
        self.family = family_of(self.folder, factor, high_resolution)
        self._high_resolution = high_resolution
        self.device = usable_device(device)
        in_half = half_precision(self.device) == torch.bfloat16
        self.dtype = choose_dtype(dtype, on_gpu=in_half)
        self.torch_dtype: torch.dtype = getattr(torch, self.dtype)
        check_weights_option(weights, self.device)
        self.weights = weights
        self.placement = Placement(
            memory,
            self.device,
            model_memory(self.folder) if max_memory is None else max_memory,
            streams_blocks=can_stream(weights),
        )
        self._adapters = read_loras(
            lora,
            lora_scale,
            family=self.family.name,
            model=self.model,
            skeleton=lambda: self.family.transformer_skeleton(self.folder),
        )
        self._compiles = compile
        if compile:
            check_compiler(self.device)
        self._attention = check_backend(attention, self.device)
        # A text encoder fills a GPU with several prompts; a CPU it fills with one.
        self.texts_together = _TEXTS_ON_GPU if self.device.type == "cuda" else 1
        self._text_encoders: Any = None
        self._conditioning: dict[tuple[str, bool], dict[str, Tensor]] = {}
        self._others: dict[int, tuple[Family, Any]] = {}
        self._drafting: tuple[str, Any] | None = None
        self._fingerprints: dict[str, str] = {}

    def settle(self, request: Request) -> SamplingSettings:
        """The request, checked, and completed with the model's defaults.

        Raises:
            UsageError: a value is out of its range.
            Diffusion4kError: the image to start from cannot be read.
        """
        self._check_cache(request.cache)
        settings = settle(
            request,
            self.family,
            self.folder,
            model=self.model,
            model_fingerprint=self._fingerprint(self.model),
            dtype=self.dtype,
        )
        stages = settings.stages and tuple(
            replace(stage, model_fingerprint=self._fingerprint(stage.model))
            if stage.model
            else stage
            for stage in settings.stages
        )
        return replace(settings, stages=stages, **self._own_settings)

    def encode(self, prompts: Iterable[str], negative_prompts: Iterable[str] = ()) -> None:
        """Compute the conditioning of prompts that are not known yet, each of them once."""
        wanted = [(prompt, False) for prompt in prompts]
        wanted += [(prompt, True) for prompt in negative_prompts]
        new = [key for key in dict.fromkeys(wanted) if key not in self._conditioning]
        if not new:
            return
        encoders = self._text_encoders
        if encoders is None:
            encoders = self.family.load_text_encoders(self.folder, dtype=self.torch_dtype)
            encoders.to(self.device)
        if self.placement.keeps_text_encoders:
            self._text_encoders = encoders
        for negative in (False, True):
            prompts = [prompt for prompt, kind in new if kind == negative]
            for start in range(0, len(prompts), self.texts_together):
                self._encode_together(
                    encoders, prompts[start : start + self.texts_together], negative
                )

    def _encode_together(self, encoders: Any, prompts: list[str], negative: bool) -> None:
        # Always as many, or the numbers of a prompt would depend on how many stand beside it.
        texts = prompts + prompts[-1:] * (self.texts_together - len(prompts))
        encoded = self.family.encode_text(encoders, texts, negative=negative)
        for row, prompt in enumerate(prompts):
            self._conditioning[prompt, negative] = {
                name: values[row : row + 1].clone() for name, values in encoded.items()
            }

    def encode_for(self, all_settings: Iterable[SamplingSettings]) -> None:
        """`encode` the prompts of images to come, and the negative prompts that count in them."""
        all_settings = list(all_settings)
        guided = [settings for settings in all_settings if self._is_guided(settings)]
        self.encode(
            [settings.prompt for settings in all_settings],
            [settings.negative_prompt for settings in guided],
        )

    def sample(
        self,
        settings: SamplingSettings,
        on_step: Callable[[], None] | None = None,
        on_stage: Callable[[int], None] | None = None,
        kept: KeptStages | None = None,
    ) -> Image.Image:
        """One RGB image of `settings.width` x `settings.height`.

        Args:
            on_step: called after each step.
            on_stage: called with the number of each stage, from 0, that begins.
            kept: where the pictures of finished stages are kept.

        Raises:
            Diffusion4kError: latents became NaN or infinite, or memory ran out.
        """
        strips = self.sample_strips(settings, on_step, on_stage, kept)
        return Image.fromarray(np.concatenate(list(strips)))

    def sample_strips(
        self,
        settings: SamplingSettings,
        on_step: Callable[[], None] | None = None,
        on_stage: Callable[[int], None] | None = None,
        kept: KeptStages | None = None,
    ) -> Iterator[NDArray[np.uint8]]:
        """The same image in strips of rows from the top, `(rows, width, 3)` each.

        All steps are made at once, each strip is decoded when it is asked for. The image is never
        whole in memory: with `max_memory` its size hardly matters.
        """
        self.encode_for([settings])
        if settings.stages:
            made = denoise_stages(self, settings, settings.stages, on_step, on_stage, kept)
            return stage_strips(self, settings.stages[-1], *made)
        latents = denoise_directly(self, settings, on_step)
        return self.decode(latents, settings.factor, settings.width, settings.height)

    def denoise(
        self,
        settings: SamplingSettings,
        on_step: Callable[[], None] | None = None,
        on_stage: Callable[[int], None] | None = None,
        kept: KeptStages | None = None,
    ) -> Tensor:
        """The image before decoding: normalised latents `(1, C, height/F, width/F)`.

        Raises:
            As `sample`.
        """
        self.encode_for([settings])
        if settings.stages:
            return denoise_stages(self, settings, settings.stages, on_step, on_stage, kept)[0]
        return denoise_directly(self, settings, on_step)

    def decode(
        self, latents: Tensor, factor: int, width: int, height: int
    ) -> Iterator[NDArray[np.uint8]]:
        """The picture of normalised latents, `(rows, width, 3)` uint8 at a time from the top."""
        family, pipeline = self.at_factor(factor)
        self.placement.before_decoding(pipeline)
        with out_of_memory(width, height, self.device):
            for strip in family.decode_strips(pipeline.vae, latents, self.placement.max_memory):
                yield rounded(strip[0])

    def call_arguments(
        self,
        settings: SamplingSettings,
        guidance: float,
        on_step: Callable[[], None] | None,
        stage: Stage | None = None,
    ) -> dict[str, Any]:
        """Arguments of the stock pipeline's call: embeddings, guidance, callback of each step."""
        steps, of_stage = settings.denoising_steps, ""
        if stage:
            steps, of_stage = stage.steps_made, f" of stage {stage.name}"

        def after_step(step: int, latents: Tensor) -> None:
            if not latents.isfinite().all():
                raise Diffusion4kError(
                    f"{self.model}: latents are NaN or infinite after step {step + 1} of "
                    f"{steps}{of_stage} in {self.dtype}: the weights are broken, or try float32"
                )
            if on_step:
                on_step()

        guided = is_guided(self._guidance_kind, guidance)
        return self.family.call_arguments(
            self._conditioning[settings.prompt, False],
            guidance=guidance,
            negative=self._conditioning[settings.negative_prompt, True] if guided else None,
            after_step=after_step,
        )

    def at_factor(self, factor: int) -> tuple[Family, Any]:
        """Family and pipeline at a factor: the parts are the same but for the autoencoder."""
        if factor == self.family.factor:
            return self.family, self.pipeline
        if factor not in self._others:
            family = self.family.at_factor(factor)
            autoencoder = family.load_autoencoder(self.folder, dtype=self.torch_dtype)
            pipeline = with_parts(
                self.pipeline, family.pipeline_class, vae=autoencoder.to(self.device)
            )
            self._others[factor] = family, pipeline
        return self._others[factor]

    def at_stage(self, stage: Stage) -> tuple[Family, Any]:
        """Family and pipeline of a stage: at its factor, with the transformer that makes it.

        Of the other models' transformers one is kept, the newest.

        Raises:
            Diffusion4kError: the other model is of another family.
        """
        family, pipeline = self.at_factor(stage.factor)
        if stage.model is None:
            return family, pipeline
        if self._drafting is None or self._drafting[0] != stage.model:
            self._drafting = None  # Before the next one is loaded.
            folder = resolve(stage.model)
            if (other := family_of(folder).name) != self.family.name:
                raise Diffusion4kError(
                    f"stage {stage.name}: {stage.model} is of the family {other}, {self.model} of "
                    f"{self.family.name}: name a model of the same family"
                )
            self._drafting = stage.model, self._load_transformer(folder)
        own = with_parts(pipeline, family.pipeline_class, transformer=self._drafting[1])
        self.placement.place(own)
        return family, own

    def load(self) -> None:
        """Load the pipeline now and not with the first image."""
        _ = self.pipeline

    @cached_property
    def pipeline(self) -> Any:
        """The stock pipeline without text encoders, its parts where `memory` wants them."""
        transformer = self._load_transformer(self.folder, self._adapters)
        pipeline = self.family.load_pipeline(
            self.folder, dtype=self.torch_dtype, text_encoders=False, transformer=transformer
        )
        pipeline.set_progress_bar_config(disable=True)
        self.placement.place(pipeline)
        return pipeline

    def _load_transformer(
        self, folder: Path, adapters: Sequence[tuple[Adapter, float]] = ()
    ) -> Any:
        """A transformer with its weights stored as requested, and the LoRAs' layers in it."""
        dtype = self.torch_dtype
        transformer = load_transformer(self.family, folder, dtype=dtype, weights=self.weights)
        if adapters:
            load_adapters(transformer, adapters)
        if self.weights == "fp8":
            cast_layers(transformer, dtype=dtype)
        if self._attention:
            use_backend(transformer, self._attention)
        if self._compiles:
            compile_blocks(transformer, self.device)
        return transformer

    def _check_cache(self, asked: str | None) -> None:
        option = CacheOption.of(asked)
        if option and option.is_inside_blocks and self.placement.streams_blocks:
            raise UsageError(
                f"cache {asked}: skips blocks, which --memory low moves to {self.device} one after "
                "the other: take taylorseer, or --memory balanced"
            )

    def _is_guided(self, settings: SamplingSettings) -> bool:
        guidances = [stage.guidance for stage in settings.stages or ()] or [settings.guidance]
        return is_guided(self._guidance_kind, max(guidances))

    @cached_property
    def _guidance_kind(self) -> GuidanceKind:
        return self.family.guidance_kind(self.folder)

    def _fingerprint(self, model: str) -> str:
        """Fingerprint of this model or of one that makes a stage; each is read once."""
        if model not in self._fingerprints:
            folder = self.folder if model == self.model else resolve(model)
            self._fingerprints[model] = fingerprint(folder)
        return self._fingerprints[model]

    @cached_property
    def _own_settings(self) -> dict[str, Any]:
        """The settings that are the same for all images of this sampler, where they are used."""
        own: dict[str, Any] = recorded(self._adapters)
        if self._high_resolution:
            own["high_resolution"] = json.dumps(self._high_resolution, sort_keys=True)
        if self.weights:
            kind, _, file = self.weights.partition(":")
            own["weights"] = f"{kind}:{sha256_of(file)[:16]}" if file else kind
        if self._compiles:
            own["compiled"] = True
        if self._attention:
            own["attention"] = self._attention
        return own
