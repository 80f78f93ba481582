"""One model made ready to turn settings into images, by its family's stock pipeline.

The noise of an image comes from a generator of its own on the CPU, and each image is made alone:
it depends on its settings only, not on the device's random numbers nor on its neighbours.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from diffusion4k.errors import Diffusion4kError, UsageError
from diffusion4k.families import family_of, resolve
from diffusion4k.families.base import GuidanceKind
from diffusion4k.sampling.fingerprint import fingerprint
from diffusion4k.sampling.request import Request, Settings, settle
from diffusion4k.vae import parse_memory

__all__ = ["Sampler"]

_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


class Sampler:
    """Makes images with one model.

    Text encoders are in memory only while `encode` runs, and never beside the transformer unless
    new prompts come after the first image; the pipeline is loaded with the first image.

    Arguments:
        model: `pocket`, a folder in diffusers layout, or a hub id.
        device: where to compute; by default the first GPU if there is one, else the CPU.
        dtype: `float32`, `bfloat16`, `float16`, or `auto`: bfloat16 on a GPU, float32 on the CPU.
        factor: pixels a side of one latent; by default the family's choice, 16 where it can.
        max_memory: of the decoder's feature maps, in bytes or as `"4GiB"`; by default no limit.

    Raises:
        Diffusion4kError: the model cannot be found or is not of a supported family.
        UsageError: unknown dtype, a memory that is no size, or a factor that the model cannot do.
    """

    def __init__(
        self,
        model: str | Path = "pocket",
        *,
        device: str | torch.device | None = None,
        dtype: str = "auto",
        max_memory: int | str | None = None,
        factor: int | None = None,
    ) -> None:
        self.max_memory = parse_memory(max_memory)
        self.model = str(model)
        self.folder = resolve(model)
        self.family = family_of(self.folder, factor)
        self.device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        if dtype == "auto":
            dtype = "bfloat16" if self.device.type == "cuda" else "float32"
        if dtype not in _DTYPES:
            raise UsageError(f"dtype {dtype}: allowed are auto, {', '.join(_DTYPES)}")
        self.dtype = dtype
        self._conditioning: dict[tuple[str, bool], dict[str, Tensor]] = {}

    def settle(self, request: Request) -> Settings:
        """The request, checked, and completed with the model's defaults.

        Raises:
            UsageError: a value is out of its range.
        """
        return settle(
            request,
            self._defaults,
            size_step=self.family.size_step,
            max_side=self._max_side,
            factor=self.family.factor,
            guidance_kind=self._guidance_kind,
            model=self.model,
            model_fingerprint=self._fingerprint,
            dtype=self.dtype,
        )

    def encode(self, prompts: Iterable[str], negative_prompts: Iterable[str] = ()) -> None:
        """Compute the conditioning of prompts that are not known yet, each of them once."""
        wanted = [(prompt, False) for prompt in prompts]
        wanted += [(prompt, True) for prompt in negative_prompts]
        new = [key for key in dict.fromkeys(wanted) if key not in self._conditioning]
        if not new:
            return
        encoders = self.family.load_text_encoders(self.folder, dtype=_DTYPES[self.dtype])
        encoders.to(self.device)
        for prompt, negative in new:
            self._conditioning[prompt, negative] = self.family.encode_text(
                encoders, [prompt], negative=negative
            )

    def encode_for(self, all_settings: Iterable[Settings]) -> None:
        """`encode` the prompts of images to come, and the negative prompts that count in them."""
        all_settings = list(all_settings)
        guided = [settings for settings in all_settings if self._is_guided(settings)]
        self.encode(
            [settings.prompt for settings in all_settings],
            [settings.negative_prompt for settings in guided],
        )

    def sample(self, settings: Settings, on_step: Callable[[], None] | None = None) -> Image.Image:
        """One RGB image of `settings.width` x `settings.height`; `on_step` after each step.

        Raises:
            Diffusion4kError: latents became NaN or infinite, or memory ran out.
        """
        return Image.fromarray(np.concatenate(list(self.sample_strips(settings, on_step))))

    def sample_strips(
        self, settings: Settings, on_step: Callable[[], None] | None = None
    ) -> Iterator[NDArray[np.uint8]]:
        """The same image in strips of rows from the top, `(rows, width, 3)` each.

        The image is never whole in memory: with `max_memory` its size hardly matters.
        """
        latents = self._denoise(settings, on_step)
        with _out_of_memory(settings, self.device):
            for strip in self.family.decode_strips(self.pipeline.vae, latents, self.max_memory):
                # As the stock pipeline scales and rounds.
                pixels = strip[0].float().mul(0.5).add_(0.5).clamp_(0, 1).mul_(255).round_()
                yield pixels.to(torch.uint8).permute(1, 2, 0).contiguous().cpu().numpy()

    def _denoise(self, settings: Settings, on_step: Callable[[], None] | None) -> Tensor:
        """Normalised latents `(1, C, height/F, width/F)` of the stock pipeline."""
        # Before the minutes that sampling takes.
        size = settings.width, settings.height
        self.family.check_decode_memory(self.pipeline.vae, *size, self.max_memory)
        self.encode_for([settings])
        guided = self._is_guided(settings)
        negative = self._conditioning[settings.negative_prompt, True] if guided else None

        def after_step(step: int, latents: Tensor) -> None:
            if not latents.isfinite().all():
                raise Diffusion4kError(
                    f"{self.model}: latents are NaN or infinite after step {step + 1} of "
                    f"{settings.steps} in {self.dtype}: the weights are broken, or try float32"
                )
            if on_step:
                on_step()

        with _out_of_memory(settings, self.device):
            latents: Tensor = self.pipeline(
                width=settings.width,
                height=settings.height,
                num_inference_steps=settings.steps,
                generator=torch.Generator().manual_seed(settings.seed),
                output_type="latent",
                **self.family.call_arguments(
                    self._conditioning[settings.prompt, False],
                    guidance=settings.guidance,
                    negative=negative,
                    after_step=after_step,
                ),
            ).images
        return self.family.spatial_latents(latents, settings.width, settings.height)

    def load(self) -> None:
        """Load the pipeline now and not with the first image."""
        _ = self.pipeline

    @cached_property
    def pipeline(self) -> Any:
        """The stock pipeline without text encoders, on the device."""
        pipeline = self.family.load_pipeline(
            self.folder, dtype=_DTYPES[self.dtype], text_encoders=False
        )
        pipeline.set_progress_bar_config(disable=True)
        return pipeline.to(self.device)

    def _is_guided(self, settings: Settings) -> bool:
        """Whether a second prediction, of the negative prompt, is made in each step."""
        return self._guidance_kind == "classifier-free" and settings.guidance > 1

    @cached_property
    def _guidance_kind(self) -> GuidanceKind:
        return self.family.guidance_kind(self.folder)

    @cached_property
    def _defaults(self) -> Any:
        return self.family.defaults(self.folder)

    @cached_property
    def _max_side(self) -> int:
        return self.family.max_side(self.folder)

    @cached_property
    def _fingerprint(self) -> str:
        return fingerprint(self.folder)


@contextmanager
def _out_of_memory(settings: Settings, device: torch.device) -> Iterator[None]:
    try:
        yield
    except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
        if type(error) is RuntimeError and "allocate memory" not in str(error):
            raise
        raise Diffusion4kError(
            f"out of memory on {device} at {settings.width}x{settings.height}: close other "
            "programs, or ask for a smaller size"
        ) from error
