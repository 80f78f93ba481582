"""What families of stock diffusers pipelines share: their components are named, and loaded by name.

Nothing heavy is imported before something is loaded, so that listing all families is quick.
"""

import importlib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from diffusion4k.errors import Diffusion4kError, UsageError
from diffusion4k.families.base import (
    SETTINGS,
    AfterStep,
    Checkpoint,
    Defaults,
    GuidanceKind,
    known_defaults,
    model_defaults,
    model_settings,
    model_text_tokens,
)
from diffusion4k.families.component import (
    check_class,
    check_tokenizer,
    check_vocabulary,
    check_weights,
    load_component,
    load_single_file,
    loading,
    named_class,
)
from diffusion4k.families.schedule import check_schedule, shift_of
from diffusion4k.families.spatial import NoiseLevel, SpatialCall, of_samples
from diffusion4k.families.stages import USUAL, ModelStages, StageOptions
from diffusion4k.models.folder import (
    PARTS_FROM,
    component_folder,
    has_component,
    needed_entry,
    read_json,
    transformer_config,
)
from diffusion4k.models.high_resolution import HighResolution, chunk_attention

__all__ = ["StockFamily", "config_of", "meta_tensor"]


class StockFamily:
    """A family whose folders hold a stock pipeline; a subclass says what is its own.

    Args:
        factor: F, pixels a side of one latent; one of `factors`, by default the first.
        high_resolution: options of `families.high_resolution` in place of a model's own, by key.
        max_sequence_length: tokens of the longest text in place of what the model states.

    Raises:
        UsageError: a factor that the family cannot do.
    """

    name: str
    pipeline_class: str
    components: ClassVar[Mapping[str, tuple[str, ...]]]
    """Per component but the scheduler, library and class, and other names of the class that
    published folders give."""
    schedulers: ClassVar[tuple[str, ...]] = ("FlowMatchEulerDiscreteScheduler",)
    """Classes of diffusers that the scheduler may be of."""
    optional: ClassVar[frozenset[str]] = frozenset()
    """Components that a model may lack."""
    checkpoints: tuple[Checkpoint, ...] = ()
    factors: ClassVar[tuple[int, ...]]
    patch_size: ClassVar[int] = 2
    """Latents a side of one token."""
    sample_size: ClassVar[int] = 128
    """Latents a side of the base model's training, where its configuration does not say."""

    lora_targets: tuple[str, ...] = (
        *("to_q", "to_k", "to_v", "to_out.0", "ff.net.0.proj", "ff.net.2"),
        *("add_q_proj", "add_k_proj", "add_v_proj", "to_add_out"),
        *("ff_context.net.0.proj", "ff_context.net.2"),
    )
    """Attention and MLP as diffusers names them, and those of a text stream where there is one."""
    image_to_image_class: str | None = None
    decodes_in_strips: bool = True
    has_posterior: bool = False
    position_methods: ClassVar[tuple[str, ...]] = ()
    """What `high_resolution.positions` may be."""

    def __init__(
        self,
        factor: int | None = None,
        high_resolution: Mapping[str, Any] | None = None,
        max_sequence_length: int | None = None,
    ) -> None:
        if factor is not None and factor not in self.factors:
            allowed = " and ".join(map(str, self.factors))
            raise UsageError(f"factor {factor}: {self.name} models can do {allowed}")
        self.factor = factor or self.factors[0]
        self.size_step = self.factor * self.patch_size
        self._given = dict(high_resolution or {})
        self.given_text_tokens = max_sequence_length
        self._factor_given = factor

    def check(self, model: Path) -> None:
        """Check from file names and headers alone that the folder is complete."""
        self.high_resolution(model)
        self.text_tokens(model)
        for name in self.components:
            if name in self.optional and not has_component(model, name):
                continue
            if _is_tokenizer(name):
                needed_entry(model, name, self._whose)
                check_tokenizer(component_folder(model, name))
                continue
            self.class_named(model, name)
            folder = component_folder(model, name)
            check_weights(folder)
            check_class(folder, self._allowed(name))
        self.class_named(model, "scheduler")
        check_schedule(_scheduler_config(model))

    def class_named(self, model: Path, component: str) -> Any:
        """The class that the model's index names, one of those that the family allows."""
        return named_class(model, component, self._allowed(component), self._whose)

    @property
    def _whose(self) -> str:
        return f"{self.name} models"

    def _allowed(self, component: str) -> tuple[str, ...]:
        if component == "scheduler":
            return self.schedulers
        first, *others = self.components[component]
        return (first.rpartition(".")[2], *others)

    def defaults(self, model: Path) -> Defaults:
        """The checkpoint's in the hub's cache, else by configuration, or by `diffusion4k.json`."""
        scheduler = read_json(_scheduler_config(model))
        usual = self.defaults_for(transformer_config(model), scheduler)
        if known := known_defaults(model, self.checkpoints):
            usual = replace(usual, steps=known.steps, guidance=known.guidance)
        return model_defaults(model, usual)

    def defaults_for(self, transformer: dict[str, Any], scheduler: dict[str, Any]) -> Defaults:
        """Sampling defaults by the configurations of transformer and scheduler."""
        raise NotImplementedError

    def timestep_shift(self, model: Path, tokens: int) -> float:
        """The scheduler's own shift, by the number of tokens where it says so."""
        return shift_of(_scheduler_config(model), tokens)

    def at_factor(self, factor: int | None) -> "StockFamily":
        """This family with the same options at another factor; None: at its own."""
        same = factor in (None, self.factor)
        return self if same else type(self)(factor, self._given, self.given_text_tokens)

    def native_tokens(self, model: Path) -> int:
        """Tokens a side of the square images that the base model was trained at."""
        sample_size: int = transformer_config(model).get("sample_size", self.sample_size)
        return sample_size // self.patch_size

    def native_factor(self, model: Path) -> int:
        """The factor of these images: the autoencoder's own."""
        return min(self.factors)

    def stages(self, model: Path) -> ModelStages:
        """A draft of the native size, at the native factor unless one was given, and windows of
        its number of tokens after it; or what the model's `diffusion4k.json` states.
        """
        tokens, factor = self.native_tokens(model), self._factor_given
        later = StageOptions(window=tokens).over(USUAL)
        if "stages" in (settings := model_settings(model)):
            where, draft = f"{model / SETTINGS}: stages", StageOptions()
            return ModelStages.stated(settings["stages"], draft=draft, later=later, where=where)
        factor = factor or self.native_factor(model)
        side = tokens * self.patch_size * factor
        return ModelStages((side,), (StageOptions(factor=factor),), later)

    def guidance_kind(self, model: Path) -> GuidanceKind:
        """Classifier-free."""
        return "classifier-free"

    def load_transformer(
        self,
        model: Path,
        *,
        dtype: torch.dtype,
        weights: Path | None = None,
        quantization: Any = None,
    ) -> nn.Module:
        """The transformer alone, with what the model's settings say about high resolution."""
        options = {"dtype": dtype, "quantization": quantization}
        if weights and weights.is_file():
            transformer = load_single_file(
                self._class("transformer"), weights, model / "transformer", **options
            )
        else:
            component = (weights or model) / "transformer"
            transformer = load_component(self._class("transformer"), component, **options)
        wanted = self.high_resolution(model)
        if wanted.positions is not None:
            self.scale_positions(transformer, wanted)
        if wanted.attention_chunk:
            chunk_attention(transformer, wanted.attention_chunk)
        return transformer

    def transformer_skeleton(self, model: Path) -> nn.Module:
        """The transformer without weights, on the "meta" device: names and shapes only."""
        config = transformer_config(model)
        with loading(model / "transformer"), torch.device("meta"):
            return self._class("transformer").from_config(config)

    def settings(self, model: Path) -> dict[str, Any]:
        """What a model trained with them states in `diffusion4k.json`: the folder's and ours."""
        settings = model_settings(model)
        settings.pop(PARTS_FROM, None)  # it is written whole
        if self.given_text_tokens:
            settings["max_sequence_length"] = self.given_text_tokens
        if self._given:
            settings["high_resolution"] = settings.get("high_resolution", {}) | self._given
        return settings

    def high_resolution(self, model: Path) -> HighResolution:
        """The model's options for sizes beyond its training.

        Raises:
            Diffusion4kError: an unknown option or a wrong value in the folder's `diffusion4k.json`.
            UsageError: the same in what was given in its place.
        """

        def checked(stated: Any, where: str, error: type[Diffusion4kError]) -> HighResolution:
            return HighResolution.checked(
                stated, self.position_methods, where=where, family=self.name, error=error
            )

        stated = model_settings(model).get("high_resolution", {})
        found = checked(stated, f"{model / SETTINGS}: high_resolution", Diffusion4kError)
        return (
            checked(stated | self._given, "high_resolution", UsageError) if self._given else found
        )

    def scale_positions(self, transformer: Any, wanted: HighResolution) -> None:
        """Change the positions as requested, by one of `position_methods`."""
        raise NotImplementedError

    def load_text_encoders(self, model: Path, *, dtype: torch.dtype) -> Any:
        """The stock pipeline with tokenizers and text encoders only; `.to(device)` moves it."""
        others = dict.fromkeys(("transformer", "vae", "scheduler"))
        pipeline = self._pipeline(**others, **self._text_components(model, dtype))
        pipeline.max_sequence_length = self.text_tokens(model)
        return pipeline

    def text_tokens(self, model: Path) -> int:
        """Tokens of the longest text."""
        stated = self.given_text_tokens or model_text_tokens(model)
        return stated or self.max_sequence_length(model)

    def empty_conditioning(self, model: Path, captions: int) -> dict[str, Tensor]:
        """What `encode_text` gives for as many captions of full length, on the meta device."""
        raise NotImplementedError

    def max_sequence_length(self, model: Path) -> int:
        """Tokens of the longest text, where the model's `diffusion4k.json` does not say."""
        raise NotImplementedError

    def load_autoencoder(self, model: Path, *, dtype: torch.dtype) -> nn.Module:
        """The autoencoder alone, at `factor`."""
        raise NotImplementedError

    def draw_latents(
        self,
        autoencoder: Any,
        images: Tensor,
        generator: torch.Generator,
        max_memory: int | str | None = None,
    ) -> Tensor:
        """Normalised latents of images, drawn from the posterior."""
        raise NotImplementedError

    def load_scheduler(self, model: Path) -> Any:
        """The scheduler, of the class that the folder names."""
        scheduler = self.class_named(model, "scheduler")
        with loading(folder := component_folder(model, "scheduler")):
            return scheduler.from_pretrained(folder)

    def load_pipeline(
        self,
        model: Path,
        *,
        dtype: torch.dtype,
        text_encoders: bool = True,
        transformer: nn.Module | None = None,
    ) -> Any:
        """The stock pipeline, its autoencoder at `factor`; without text encoders for embeddings."""
        text = dict.fromkeys(self._text_names())
        if transformer is None:
            transformer = self.load_transformer(model, dtype=dtype)
        return self._pipeline(
            transformer=transformer,
            vae=self.load_autoencoder(model, dtype=dtype),
            scheduler=self.load_scheduler(model),
            **(self._text_components(model, dtype) if text_encoders else text),
        )

    def call_arguments(
        self,
        conditioning: dict[str, Tensor],
        *,
        guidance: float,
        negative: dict[str, Tensor] | None = None,
        after_step: AfterStep | None = None,
    ) -> dict[str, Any]:
        """Embeddings by their names, those of the negative prompt with `negative_` before them."""
        arguments: dict[str, Any] = {"guidance_scale": guidance, **conditioning}
        arguments |= {f"negative_{name}": value for name, value in (negative or {}).items()}
        if after_step:

            def callback(_: Any, step: int, __: Any, tensors: dict[str, Tensor]) -> dict[str, Any]:
                after_step(step, tensors["latents"])
                return tensors

            arguments["callback_on_step_end"] = callback
        return arguments

    def spatial_latents(self, latents: Tensor, width: int, height: int) -> Tensor:
        """Latents are already spatial."""
        return latents

    def noise_level(self, transformer: Any, timestep: Tensor) -> NoiseLevel:
        """Noise level of a timestep as the transformer takes it, in thousandths of sigma."""
        return NoiseLevel.flow(timestep / 1000.0)

    def spatial_call(
        self, transformer: Any, arguments: dict[str, Any], rows: int, columns: int
    ) -> SpatialCall:
        """Latents come as `hidden_states`; every tensor has a row for each sample."""
        latents = arguments.pop("hidden_states")
        arguments["return_dict"] = False

        def predict(pictures: Tensor, samples: Tensor) -> Tensor:
            found: Tensor = transformer(hidden_states=pictures, **of_samples(arguments, samples))[0]
            return found

        level = self.noise_level(transformer, arguments["timestep"])
        return SpatialCall(latents, level, predict, output=lambda predicted: predicted)

    def _pipeline(self, **components: Any) -> Any:
        return getattr(importlib.import_module("diffusers"), self.pipeline_class)(**components)

    def _class(self, name: str) -> Any:
        library, _, class_name = self.components[name][0].rpartition(".")
        return getattr(importlib.import_module(library), class_name)

    def _load(self, model: Path, name: str, dtype: torch.dtype) -> nn.Module:
        return load_component(self._class(name), component_folder(model, name), dtype=dtype)

    def _text_names(self) -> list[str]:
        return [name for name in self.components if name not in ("transformer", "vae")]

    def _text_components(self, model: Path, dtype: torch.dtype) -> dict[str, Any]:
        """Text encoders and tokenizers by name; None for what the model does not have."""
        parts: dict[str, Any] = {}
        for name in self._text_names():
            if name in self.optional and not has_component(model, name):
                parts[name] = None
            elif _is_tokenizer(name):
                with loading(folder := component_folder(model, name)):
                    parts[name] = self._class(name).from_pretrained(folder, local_files_only=True)
            else:
                parts[name] = self._load(model, name, dtype)
        for name, tokenizer in parts.items():
            if _is_tokenizer(name) and tokenizer is not None:
                config = getattr(parts[name.replace("tokenizer", "text_encoder")], "config", None)
                check_vocabulary(component_folder(model, name), tokenizer, config)
                # A tokenizer saved without its maximum claims 1e30 tokens, and would pad up to it.
                most = getattr(config, "max_position_embeddings", None)
                tokenizer.model_max_length = min(tokenizer.model_max_length, most or 10**30)
        return parts


def meta_tensor(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """A tensor of that shape without contents."""
    return torch.empty(shape, dtype=dtype, device="meta")


def config_of(transformer: nn.Module) -> Any:
    """The configuration of a diffusers model, also inside a data-parallel wrapper."""
    return getattr(transformer, "module", transformer).config


def _scheduler_config(model: Path) -> Path:
    return component_folder(model, "scheduler") / "scheduler_config.json"


def _is_tokenizer(component: str) -> bool:
    return component.startswith("tokenizer")
