"""Requests, checked and completed with the model's defaults."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field, ValidationError

from diffusion4k.config.problems import describe_problems
from diffusion4k.data.folder import photo_folder
from diffusion4k.data.images import image_size
from diffusion4k.data.metadata import METADATA
from diffusion4k.errors import Diffusion4kError, UsageError
from diffusion4k.sampling.cache_option import recorded_cache
from diffusion4k.sampling.options import SamplingOptions
from diffusion4k.sampling.shift import check_shift
from diffusion4k.sampling.sizes import check_size, check_steps
from diffusion4k.sampling.stages import Stage, resolve_stages, steps_made
from diffusion4k.support.bundled import POCKET
from diffusion4k.support.files import sha256_of
from diffusion4k.support.text_files import json_of, lines_of, read_text

if TYPE_CHECKING:
    from diffusion4k.families.base import Family

__all__ = ["Request", "SamplingSettings", "choose_dtype", "prompts_file", "read_prompts", "settle"]

# The longest prompts whose record still fits into the 64 KiB that JPEG allows.
_MAX_PROMPT = 6500
DTYPES = ("float32", "bfloat16", "float16")
STRENGTH = 0.35


class Request(SamplingOptions):
    """One image to make; sampling options that are None are taken from the model's defaults.

    `init` is an image to start from: its last `strength` (0 to 1) of the steps are made again.

    Raises:
        UsageError: an option that there is not, or a value of another kind than it has.
    """

    prompt: str
    seed: Annotated[int, Field(strict=True)] = 0
    init: Path | None = None
    strength: float | None = None

    def __init__(self, prompt: str, seed: int = 0, **options: Any) -> None:
        values = {"prompt": prompt, "seed": seed, **options}
        try:
            super().__init__(**values)
        except ValidationError as error:
            raise UsageError(describe_problems(error, Request, values)) from None

    @classmethod
    def of(cls, sampling: SamplingOptions, prompt: str, seed: int = 0, **more: Any) -> "Request":
        """The request of an image with these options; `more` are the other fields."""
        options = {name: getattr(sampling, name) for name in SamplingOptions.model_fields}
        return cls(prompt, seed, **options, **more)


@dataclass(frozen=True)
class SamplingSettings:
    """All that decides how one image comes out; also what is recorded in the image file."""

    prompt: str
    negative_prompt: str
    seed: int
    steps: int
    guidance: float
    width: int
    height: int
    model: str
    model_fingerprint: str
    dtype: str
    factor: int = 16
    """Pixels a side of one latent."""
    init: str | None = None
    init_sha256: str | None = None
    strength: float | None = None
    lora: str | tuple[str, ...] | None = None
    """A LoRA's file; of several those of all, and so the next two."""
    lora_fingerprint: str | tuple[str, ...] | None = None
    lora_scale: float | tuple[float, ...] | None = None
    weights: str | None = None
    """fp8, int8, nf4 or gguf:SHA-256: how the transformer's weights were stored."""
    high_resolution: str | None = None
    """Options given in place of the model's own, as a JSON object."""
    stages: tuple[Stage, ...] | None = None
    """How it is made in stages, the draft first; None: directly. `steps` and `guidance` are the
    draft's then."""
    shift: float | None = None
    """Shift of noise levels, where it is not the model's own."""
    guidance_interval: tuple[float, float] | None = None
    """Noise levels between which guidance acts; None: all."""
    projected_guidance: bool | None = None
    """True: adaptive projected guidance."""
    cache: str | None = None
    """What is used again between steps, as `sampling.cache_option` records it; None: nothing."""
    compiled: bool | None = None
    """True: the transformer's blocks were compiled, which rounds otherwise."""
    attention: str | None = None
    """Attention other than PyTorch's own."""

    @property
    def denoising_steps(self) -> int:
        """The number of steps that are made, of all stages together.

        These are all, or the last ones where there is an image to start from.
        """
        if self.stages:
            return sum(stage.steps_made for stage in self.stages)
        return steps_made(self.steps, self.strength)


def settle(
    request: Request,
    family: "Family",
    folder: Path,
    *,
    model: str,
    model_fingerprint: str,
    dtype: str,
) -> SamplingSettings:
    """The settings of a request for a model, which lies in `folder`.

    Raises:
        UsageError: a value is out of its range; names the value and the range.
        Diffusion4kError: the image to start from cannot be read.
    """
    defaults = family.defaults(folder)
    width = _asked(request.width, defaults.width)
    height = _asked(request.height, defaults.height)
    start = _start(request)
    stages = _stages(request, family, folder, width, height)
    steps = stages[0].steps if stages else _asked(request.steps, defaults.steps)
    guidance = stages[0].guidance if stages else _asked(request.guidance, defaults.guidance)
    guidance_kind = family.guidance_kind(folder)
    _check_prompt(request.prompt, "prompt")
    if request.negative_prompt:
        _check_prompt(request.negative_prompt, "negative prompt")
    if not 0 <= request.seed < 2**63:
        raise UsageError(f"seed {request.seed}: allowed is 0 to {2**63 - 1}")
    check_steps(steps, family.least_steps(folder))
    if not (math.isfinite(guidance) and guidance >= 0):
        raise UsageError(f"guidance {guidance}: allowed is a number from 0 (0 to 1: off)")
    if guidance_kind == "none" and guidance > 1:
        raise UsageError(f"guidance {guidance:g}: {model} takes none: leave it out, or give 0")
    if request.negative_prompt and guidance_kind != "classifier-free":
        raise UsageError(
            f"a negative prompt: {model} takes none, as it was distilled to need no second "
            "prediction: leave it out"
        )
    if request.negative_prompt and guidance <= 1:
        raise UsageError(
            f"a negative prompt has no effect with guidance {guidance:g} (off): "
            "give a guidance above 1 or leave the negative prompt out"
        )
    if stages and request.shift is not None:
        raise UsageError(
            f"shift {request.shift:g}: goes with an image that is made directly: add --direct"
        )
    if not stages:
        largest = family.max_side(folder)
        check_size(width, height, size_step=family.size_step, max_side=largest)
        tokens = (width // family.size_step) * (height // family.size_step)
        natural = family.timestep_shift(folder, tokens, steps)
        check_shift(request.shift, natural, model=model, width=width, height=height)
    guidances = [stage.guidance for stage in stages or ()] or [guidance]
    from diffusion4k.families.calls import is_guided  # not before a request is settled: torch

    _check_guided(request, is_guided(guidance_kind, max(guidances)), model, max(guidances))
    cache = recorded_cache(
        request.cache,
        family,
        folder,
        stages=stages or (),
        has_interval=request.guidance_interval is not None,
    )
    return SamplingSettings(
        prompt=request.prompt,
        negative_prompt=request.negative_prompt,
        seed=request.seed,
        steps=steps,
        guidance=float(guidance),
        width=width,
        height=height,
        model=model,
        model_fingerprint=model_fingerprint,
        dtype=dtype,
        factor=stages[-1].factor if stages else family.factor,
        stages=stages,
        shift=request.shift,
        guidance_interval=request.guidance_interval,
        projected_guidance=request.projected_guidance or None,
        cache=cache,
        **start,
    )


def _check_guided(request: Request, guided: bool, model: str, guidance: float) -> None:
    """Refuse options of guidance where there is none, and an interval that is none."""
    asked = []
    if interval := request.guidance_interval:
        low, high = interval
        asked.append(f"guidance interval {low:g},{high:g}")
        if not 0 <= low < high <= 1:
            raise UsageError(f"{asked[0]}: allowed are noise levels from 0 to 1, the lowest first")
    if request.projected_guidance:
        asked.append("projected guidance")
    if asked and not guided:
        raise UsageError(
            f"{asked[0]}: {model} makes no second prediction at guidance {guidance:g}: give a "
            "guidance above 1, if the model takes one, or leave it out"
        )


def _asked(value: Any, otherwise: Any) -> Any:
    return otherwise if value is None else value


def _stages(
    request: Request, family: "Family", folder: Path, width: int, height: int
) -> tuple[Stage, ...] | None:
    """The stages; none for an image that starts from one."""
    if request.init is not None:
        if request.asks_for_stages:
            raise UsageError(
                f"init {request.init}: an image to start from takes the draft's place: leave out "
                "the options of stages"
            )
        return None
    return resolve_stages(
        family,
        folder,
        family.defaults(folder),
        width=width,
        height=height,
        steps=request.steps,
        guidance=request.guidance,
        stages=request.stages,
        draft=request.draft,
        options=request.stage_options,
    )


def _start(request: Request) -> dict[str, Any]:
    """The settings that tell of the image to start from; none without one."""
    if request.init is None:
        if request.strength is not None:
            raise UsageError(
                f"strength {request.strength:g} without an image to start from: "
                "give one with --init"
            )
        return {}
    strength = STRENGTH if request.strength is None else request.strength
    if not 0 < strength <= 1:
        raise UsageError(
            f"strength {strength:g}: allowed is above 0 to 1 (1: nothing of the image is left)"
        )
    if not Path(request.init).exists():
        raise UsageError(f"init {request.init}: no such file: give an image file")
    image_size(request.init)
    return {
        "init": str(request.init),
        "init_sha256": sha256_of(request.init),
        "strength": strength,
    }


def choose_dtype(name: str, *, on_gpu: bool) -> str:
    """The precision of computations: of `auto` bfloat16 on a GPU, else float32.

    Raises:
        UsageError: neither `auto` nor one of `DTYPES`.
    """
    if name == "auto":
        return "bfloat16" if on_gpu else "float32"
    if name not in DTYPES:
        raise UsageError(f"dtype {name}: allowed are auto, {', '.join(DTYPES)}")
    return name


def read_prompts(path: str | Path) -> list[str]:
    """Prompts of a `.txt` (one per line) or `.jsonl` file (`text` or `prompt` of each object).

    Other keys of an object do not count: sizes and seeds are those of the request. Of an image
    folder they are its captions, those of the bundled photographs for `pocket`. Empty lines are
    passed over.

    Raises:
        UsageError: no such file, another suffix, or no prompt in the file.
            Or a prompt that no model takes; names its line.
        Diffusion4kError: a line that cannot be read; names its number.
    """
    path = prompts_file(path)
    if path.suffix.lower() not in (".txt", ".jsonl"):
        raise UsageError(f"{path}: a prompts file is .txt (one per line) or .jsonl")
    if not path.is_file():
        raise UsageError(
            f"{path}: no such file: give a .txt or .jsonl file of prompts, or {POCKET} for the "
            "captions of the bundled photographs"
        )
    prompts = []
    for number, line in enumerate(lines_of(read_text(path)), start=1):
        if line.strip():
            place = f"{path}:{number}"
            is_plain = path.suffix.lower() == ".txt"
            prompts.append(_plain(line) if is_plain else _prompt_of(line, place))
            _check_prompt(prompts[-1], f"prompt of {place}")
    if not prompts:
        raise UsageError(f"{path}: no prompt in it")
    return prompts


def prompts_file(name: str | Path) -> Path:
    """The file itself, or that with the captions of an image folder (`pocket`: the bundled one)."""
    place = photo_folder(name)
    return place / METADATA if place.is_dir() else place


def _plain(line: str) -> str:
    # A page break, which printers wanted between lines, is no more than a blank.
    return line.replace("\f", " ").replace("\v", " ").strip()


def _prompt_of(line: str, place: str) -> str:
    try:
        record = json_of(line)
    except ValueError as error:
        raise Diffusion4kError(f"{place}: not valid JSON ({error})") from None
    prompt = record.get("text", record.get("prompt")) if isinstance(record, dict) else None
    if not isinstance(prompt, str) or not prompt.strip():
        raise Diffusion4kError(f'{place}: expected an object with a non-empty "text" or "prompt"')
    return prompt


def _check_prompt(prompt: str, what: str) -> None:
    if not prompt.strip():
        raise UsageError(f"the {what} is empty: say what the image should show")
    if len(prompt) > _MAX_PROMPT:
        raise UsageError(f"the {what} has {len(prompt)} characters: allowed are {_MAX_PROMPT}")
    if odd := [c for c in prompt if ord(c) < 32 and c not in "\t\n\r"]:
        raise UsageError(f"the {what} holds the control character {odd[0]!r}: remove it")
    try:
        prompt.encode()
    except UnicodeEncodeError:
        raise UsageError(f"the {what} {prompt[:40]!r} is not valid UTF-8 text") from None
