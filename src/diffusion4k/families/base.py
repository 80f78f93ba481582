"""A base-model family: what the rest of the project may ask of it, and what most have in common.

Families are of stock diffusers pipelines: their components are named, and loaded by name. Nothing
heavy is imported before something is loaded, so that listing all families is quick.
"""

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from diffusion4k.errors import Diffusion4kError, UsageError
from diffusion4k.families.autoencoding import Autoencoding
from diffusion4k.families.calls import (
    AfterStep,
    GuidanceKind,
    TransformerCalls,
    config_of,
    meta_tensor,
)
from diffusion4k.families.component import (
    SINGLE_FILE,
    check_class,
    check_tokenizer,
    check_weights,
    load_component,
    loading,
    named_class,
)
from diffusion4k.families.defaults import (
    Checkpoint,
    Defaults,
    known_defaults,
    model_defaults,
    model_text_tokens,
)
from diffusion4k.families.schedule import (
    check_schedule,
    least_steps_of,
    scheduler_config,
    shift_of,
)
from diffusion4k.families.single_file import load_single_file
from diffusion4k.families.stages import USUAL, ModelStages, StageOptions
from diffusion4k.families.text_components import is_tokenizer, load_text_components, stock_class
from diffusion4k.models.attention import chunk_attention
from diffusion4k.models.folder import (
    PARTS_FROM,
    SETTINGS,
    component_folder,
    has_component,
    model_settings,
    needed_entry,
    read_json,
    transformer_config,
)
from diffusion4k.models.high_resolution import HighResolution
from diffusion4k.models.layout import original_layout

__all__ = [
    "NO_LIMIT",
    "SETTINGS",
    "AfterStep",
    "Checkpoint",
    "Defaults",
    "Family",
    "GuidanceKind",
    "config_of",
    "meta_tensor",
    "model_settings",
]

_OTHER_PARTS = ("transformer", "vae")
NO_LIMIT = 2**15
"""Longest side in pixels of models whose position embeddings have no end."""


class Family(Autoencoding, TransformerCalls):
    """One base-model family; `model` is always the local folder of a diffusers pipeline.

    Tensors: images `(B, 3, H, W)` in [-1, 1]; latents `(B, C, H/F, W/F)`, F being `factor`, always
    *normalised* (shifted and scaled as the transformer sees them); sigma `(B,)` in [0, 1];
    the noisy latents are `z = (1 - sigma) * latents + sigma * noise` and the
    velocity target is `noise - latents`.

    Args:
        factor: F, pixels a side of one latent; one of `factors`, by default the first.
        high_resolution: options of `models.high_resolution` in place of a model's own, by key.
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
    relatives: ClassVar[Mapping[str, str]] = {}
    """Pipeline classes of variants that cannot be used here, and what they do instead."""
    checkpoints: tuple[Checkpoint, ...] = ()
    factors: ClassVar[tuple[int, ...]]
    factor_note: ClassVar[str] = ""
    """Why they are no others, where it is not plain."""
    size_step: int
    """Width and height in pixels are multiples of this: autoencoder factor times patch size."""
    patch_size: ClassVar[int] = 2
    """Latents a side of one token."""
    sample_size: ClassVar[int] = 128
    """Latents a side of the base model's training, where its configuration does not say."""
    lora_targets: tuple[str, ...] = (
        *("to_q", "to_k", "to_v", "to_out.0", "ff.net.0.proj", "ff.net.2"),
        *("add_q_proj", "add_k_proj", "add_v_proj", "to_add_out"),
        *("ff_context.net.0.proj", "ff_context.net.2"),
    )
    """Ends of the names of the linear layers that LoRA adapts by default:
    attention and MLP as diffusers names them, and those of a text stream where there is one."""
    chat_template: ClassVar[bool] = False
    """Whether prompts stand in the chat template of the tokenizer."""
    image_to_image_class: str | None = None
    """The stock pipeline that starts from an image; None where diffusers has none."""
    given_text_tokens: int | None
    """Tokens of the longest text, in place of what a model states; None: the model's."""

    def __init__(
        self,
        factor: int | None = None,
        high_resolution: Mapping[str, Any] | None = None,
        max_sequence_length: int | None = None,
    ) -> None:
        if factor is not None and factor not in self.factors:
            allowed = " and ".join(map(str, self.factors))
            why = f": {self.factor_note}" if self.factor_note else ""
            raise UsageError(f"factor {factor}: {self.name} models can do {allowed}{why}")
        self.factor = factor or self.factors[0]
        self.size_step = self.factor * self.patch_size
        self._given = dict(high_resolution or {})
        self.given_text_tokens = max_sequence_length
        self._factor_given = factor

    def check(self, model: Path) -> None:
        """Check from file names and headers alone that the folder is complete.

        Raises:
            Diffusion4kError: a component is missing, damaged, or of another class.
        """
        self.high_resolution(model)
        self.text_tokens(model)
        for name in self.components:
            if name in self.optional and not has_component(model, name):
                continue
            if is_tokenizer(name):
                needed_entry(model, name, f"{self.name} models")
                check_tokenizer(component_folder(model, name), chat_template=self.chat_template)
                continue
            self.class_named(model, name)
            folder = component_folder(model, name)
            check_weights(folder)
            check_class(folder, self._allowed(name))
        self.class_named(model, "scheduler")
        check_schedule(scheduler_config(model))

    def class_named(self, model: Path, component: str) -> Any:
        """The class that the model's index names for a component.

        Raises:
            Diffusion4kError: no class, or one that the family does not allow.
        """
        return named_class(model, component, self._allowed(component), f"{self.name} models")

    def high_resolution(self, model: Path) -> HighResolution:
        """The options for sizes beyond its training: the model's own, or those given for it.

        Raises:
            Diffusion4kError: an unknown option, or one that the family does not have, in the
                folder's `diffusion4k.json`.
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

    def settings(self, model: Path) -> dict[str, Any]:
        """What a model trained with them states in `diffusion4k.json`: the folder's and ours."""
        settings = model_settings(model)
        settings.pop(PARTS_FROM, None)  # it is written whole
        if self.given_text_tokens:
            settings["max_sequence_length"] = self.given_text_tokens
        if self._given:
            settings["high_resolution"] = settings.get("high_resolution", {}) | self._given
        return settings

    def defaults(self, model: Path) -> Defaults:
        """The checkpoint's in the hub's cache, else by configuration, or by `diffusion4k.json`."""
        usual = self.usual_defaults(model)
        if known := known_defaults(model, self.checkpoints):
            usual = replace(usual, steps=known.steps, guidance=known.guidance)
        return model_defaults(model, usual)

    def usual_defaults(self, model: Path) -> Defaults:
        """Those of models of its kind, by what tells the kinds apart: usually configurations."""
        scheduler = read_json(scheduler_config(model))
        return self.defaults_for(transformer_config(model), scheduler)

    @abstractmethod
    def defaults_for(self, transformer: dict[str, Any], scheduler: dict[str, Any]) -> Defaults:
        """Sampling defaults by the configurations of transformer and scheduler."""

    @abstractmethod
    def max_side(self, model: Path) -> int:
        """Longest side in pixels that the model can make at once, without windows."""

    def at_factor(self, factor: int | None) -> "Family":
        """This family with the same options at another factor; None: at its own.

        Raises:
            UsageError: a factor that the family cannot do.
        """
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
        """How the model makes an image in stages.

        A draft of the native size, at the native factor unless one was given, and windows of its
        number of tokens after it; or what the model's `diffusion4k.json` states.

        Raises:
            Diffusion4kError: stages there that cannot be meant.
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
        """What the guidance scale does in this model; classifier-free in most."""
        return "classifier-free"

    def load_transformer(
        self,
        model: Path,
        *,
        dtype: torch.dtype,
        weights: Path | None = None,
        quantization: Any = None,
    ) -> nn.Module:
        """The transformer alone.

        `weights` (a checkpoint or file) may hold it; `quantization` is diffusers' configuration.
        """
        kind = self._class("transformer")
        options = {"dtype": dtype, "quantization": quantization}
        component = model / "transformer"
        file = weights or (component / SINGLE_FILE).resolve()
        if file.is_file():
            layout = original_layout(self.name)
            transformer = load_single_file(kind, file, component, layout=layout, **options)
        else:
            transformer = load_component(kind, (weights or model) / "transformer", **options)
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

    def timestep_shift(self, model: Path, tokens: int, steps: int | None = None) -> float:
        """How sampling shifts the noise levels of an image of so many tokens; 1: not at all.

        The scheduler's own shift, by the number of tokens where it says so. In some families it
        depends on the number of steps, by default the model's.
        """
        return shift_of(scheduler_config(model), tokens)

    def least_steps(self, model: Path) -> int:
        """Steps of the shortest schedule that sampling can make."""
        return least_steps_of(scheduler_config(model))

    def load_scheduler(self, model: Path) -> Any:
        """The scheduler, of the class that the folder names."""
        scheduler = self.class_named(model, "scheduler")
        with loading(folder := component_folder(model, "scheduler")):
            return scheduler.from_pretrained(folder)

    def load_text_encoders(self, model: Path, *, dtype: torch.dtype) -> Any:
        """What `encode_text` needs, without transformer or autoencoder; `.to(device)` moves it.

        It is the stock pipeline with tokenizers and text encoders only.
        """
        others = dict.fromkeys(("transformer", "vae", "scheduler"))
        pipeline = self._pipeline(**others, **self._text_components(model, dtype))
        pipeline.max_sequence_length = self.text_tokens(model)
        return pipeline

    @abstractmethod
    def encode_text(
        self, text_encoders: Any, captions: list[str], *, negative: bool = False
    ) -> dict[str, Tensor]:
        """Conditioning of each caption: tensors whose first axis is the caption's.

        With `negative` as the stock pipeline encodes negative prompts, which is not in all families
        the same. An empty caption is encoded as the negative prompt in any case: it stands for no
        condition at all.
        """

    def text_tokens(self, model: Path) -> int:
        """Tokens of the longest text."""
        stated = self.given_text_tokens or model_text_tokens(model)
        return stated or self.max_sequence_length(model)

    @abstractmethod
    def max_sequence_length(self, model: Path) -> int:
        """Tokens of the longest text, where the model's `diffusion4k.json` does not say."""

    @abstractmethod
    def empty_conditioning(self, model: Path, captions: int) -> dict[str, Tensor]:
        """What `encode_text` gives for as many captions of full length, on the meta device."""

    def load_pipeline(
        self,
        model: Path,
        *,
        dtype: torch.dtype,
        text_encoders: bool = True,
        transformer: nn.Module | None = None,
    ) -> Any:
        """The stock diffusers pipeline, its autoencoder at `factor`.

        Without text encoders it takes the conditioning of `encode_text` in place of prompts;
        a `transformer` that is given takes the place of the folder's.
        """
        text = dict.fromkeys(name for name in self.components if name not in _OTHER_PARTS)
        if transformer is None:
            transformer = self.load_transformer(model, dtype=dtype)
        return self._pipeline(
            transformer=transformer,
            vae=self.load_autoencoder(model, dtype=dtype),
            scheduler=self.load_scheduler(model),
            **(self._text_components(model, dtype) if text_encoders else text),
        )

    def _allowed(self, component: str) -> tuple[str, ...]:
        if component == "scheduler":
            return self.schedulers
        first, *others = self.components[component]
        return (first.rpartition(".")[2], *others)

    def _pipeline(self, **components: Any) -> Any:
        return stock_class(f"diffusers.{self.pipeline_class}")(**components)

    def _class(self, name: str) -> Any:
        return stock_class(self.components[name][0])

    def _load(self, model: Path, name: str, dtype: torch.dtype) -> nn.Module:
        return load_component(self._class(name), component_folder(model, name), dtype=dtype)

    def _text_components(self, model: Path, dtype: torch.dtype) -> dict[str, Any]:
        names = [name for name in self.components if name not in _OTHER_PARTS]
        absent = [n for n in names if n in self.optional and not has_component(model, n)]
        classes = {name: self.components[name][0] for name in names}
        return load_text_components(
            model, classes, lambda name: self._load(model, name, dtype), absent
        )
