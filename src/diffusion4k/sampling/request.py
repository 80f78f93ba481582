"""What is asked for, checked, and completed with the model's defaults to what will be done."""

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from diffusion4k.data.images import image_size
from diffusion4k.errors import Diffusion4kError, UsageError
from diffusion4k.families import families
from diffusion4k.families.base import Defaults, GuidanceKind
from diffusion4k.files import sha256_of
from diffusion4k.text_files import lines_of, read_text

__all__ = ["Request", "Settings", "check_size", "choose_dtype", "read_prompts", "settle"]

# The longest prompts whose record still fits into the 64 KiB that JPEG allows.
_MAX_PROMPT = 7500
_MAX_STEPS = 1000
DTYPES = ("float32", "bfloat16", "float16")
STRENGTH = 0.35


@dataclass(frozen=True)
class Request:
    """One image to make; what is None is taken from the model's defaults.

    Sizes are in pixels. Guidance is the classifier-free guidance scale; up to 1 it is off.
    `init` is an image to start from: its last `strength` (0 to 1) of the steps are made anew.
    """

    prompt: str
    seed: int = 0
    negative_prompt: str = ""
    width: int | None = None
    height: int | None = None
    steps: int | None = None
    guidance: float | None = None
    init: Path | None = None
    strength: float | None = None


@dataclass(frozen=True)
class Settings:
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
    lora: str | None = None
    lora_fingerprint: str | None = None
    lora_scale: float | None = None
    weights: str | None = None
    """fp8, int8, nf4 or gguf:SHA-256: how the transformer's weights were stored."""
    high_resolution: str | None = None
    """Options given in place of the model's own, as a JSON object."""

    @property
    def denoising_steps(self) -> int:
        """Steps that are made: all, or the last ones where there is an image to start from."""
        strength = 1.0 if self.strength is None else self.strength
        return self.steps - int(max(self.steps - self.steps * strength, 0))


def settle(
    request: Request,
    defaults: Defaults,
    *,
    size_step: int,
    max_side: int,
    model: str,
    model_fingerprint: str,
    dtype: str,
    factor: int = 16,
    guidance_kind: GuidanceKind = "classifier-free",
    starts_from_images: bool = True,
) -> Settings:
    """The settings of a request for a model.

    Raises:
        UsageError: a value is out of its range; names the value and the range.
        Diffusion4kError: the image to start from cannot be read.
    """
    steps = defaults.steps if request.steps is None else request.steps
    guidance = defaults.guidance if request.guidance is None else request.guidance
    width = defaults.width if request.width is None else request.width
    height = defaults.height if request.height is None else request.height
    _check_prompt(request.prompt, "prompt")
    if request.negative_prompt:
        _check_prompt(request.negative_prompt, "negative prompt")
    if not 0 <= request.seed < 2**63:
        raise UsageError(f"seed {request.seed}: allowed is 0 to {2**63 - 1}")
    if not 1 <= steps <= _MAX_STEPS:
        raise UsageError(f"steps {steps}: allowed is 1 to {_MAX_STEPS}")
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
    check_size(width, height, size_step=size_step, max_side=max_side)
    return Settings(
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
        factor=factor,
        **_start(request, model, starts_from_images),
    )


def _start(request: Request, model: str, starts_from_images: bool) -> dict[str, Any]:
    """The settings that tell of the image to start from; none without one."""
    if request.init is None:
        if request.strength is not None:
            raise UsageError(
                f"strength {request.strength:g} without an image to start from: "
                "give one with --init"
            )
        return {}
    if not starts_from_images:
        able = sorted(kind.name for kind in families().values() if kind.image_to_image_class)
        raise UsageError(
            f"init {request.init}: {model} is of a family that cannot start from an image, as "
            f"diffusers has no such pipeline for it; those that can: {', '.join(able)}"
        )
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


def check_size(width: int, height: int, *, size_step: int, max_side: int) -> None:
    """Refuse sides that are no multiple of `size_step` or not in `[size_step, max_side]` pixels.

    Raises:
        UsageError: names the side and the nearest sizes that are allowed.
    """
    largest = max_side - max_side % size_step
    for name, side in (("width", width), ("height", height)):
        if side > largest:
            raise UsageError(
                f"{name} {side}: too large for this model, whose position embeddings reach "
                f"{largest} pixels: the largest size is {largest}x{largest}"
            )
        if side < size_step:
            raise UsageError(f"{name} {side}: too small, the smallest is {size_step}")
        if below := side % size_step:
            smaller, larger = side - below, side - below + size_step
            near = f"{smaller} or {larger}" if larger <= largest else f"{smaller}"
            raise UsageError(f"{name} {side}: not a multiple of {size_step}; the nearest: {near}")


def read_prompts(path: str | Path) -> list[str]:
    """Prompts of a `.txt` (one per line) or `.jsonl` file (`text` or `prompt` of each object).

    Empty lines are passed over.

    Raises:
        UsageError: no such file, another suffix, or no prompt in the file.
        Diffusion4kError: a line that cannot be read; names its number.
    """
    path = Path(path)
    if path.suffix.lower() not in (".txt", ".jsonl"):
        raise UsageError(f"{path}: a prompts file is .txt (one per line) or .jsonl")
    if not path.is_file():
        raise UsageError(f"{path}: no such file: give a .txt or .jsonl file of prompts")
    prompts = [
        _plain(line) if path.suffix.lower() == ".txt" else _prompt_of(line, f"{path}:{number}")
        for number, line in enumerate(lines_of(read_text(path)), start=1)
        if line.strip()
    ]
    if not prompts:
        raise UsageError(f"{path}: no prompt in it")
    return prompts


def _plain(line: str) -> str:
    # A page break, which printers wanted between lines, is no more than a blank.
    return line.replace("\f", " ").replace("\v", " ").strip()


def _prompt_of(line: str, place: str) -> str:
    try:
        record = json.loads(line)
    except ValueError as error:
        raise Diffusion4kError(f"{place}: not valid JSON ({error})") from None
    prompt = record.get("text", record.get("prompt")) if isinstance(record, dict) else None
    if not isinstance(prompt, str) or not prompt.strip():
        raise Diffusion4kError(f'{place}: expected an object with a non-empty "text" or "prompt"')
    return prompt


def _check_prompt(prompt: str, what: str) -> None:
    if not prompt.strip():
        raise UsageError(f"the {what} is empty: say what the image shall show")
    if len(prompt) > _MAX_PROMPT:
        raise UsageError(f"the {what} has {len(prompt)} characters: allowed are {_MAX_PROMPT}")
    if odd := [c for c in prompt if ord(c) < 32 and c not in "\t\n\r"]:
        raise UsageError(f"the {what} holds the control character {odd[0]!r}: take it out")
    try:
        prompt.encode()
    except UnicodeEncodeError:
        raise UsageError(f"the {what} {prompt[:40]!r} is not valid UTF-8 text") from None
