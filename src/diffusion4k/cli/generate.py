"""`diffusion4k generate`: prompts to images."""

from pathlib import Path
from typing import Annotated, Any

import typer

from diffusion4k.cli.arguments import as_utf8, stages_asked
from diffusion4k.cli.image_options import (
    Direct,
    Draft,
    Factor,
    Guidance,
    Height,
    LowBands,
    MaxMemory,
    Positions,
    Stages,
    StageSteps,
    StageStrength,
    Steps,
    Width,
    Window,
)

__all__ = ["register"]

_EXAMPLES = """Examples:

diffusion4k generate "a mountain lake at dawn" --width 1024 --height 1024 --out lake.png

diffusion4k generate "a mountain lake at dawn" --init lake.png --strength 0.35 --out lake-4k.png

diffusion4k generate "a mountain lake at dawn" --stages 1024,2048,4096 --out lake-4k.png

diffusion4k generate --prompts pocket --seed 0 --seed 1 --format jpeg --out images
"""


def register(app: typer.Typer) -> None:
    """Add the verb to the command line."""
    app.command(epilog=_EXAMPLES)(generate)


def generate(
    prompt: Annotated[
        str | None, typer.Argument(help="What the image should show.", show_default=False)
    ] = None,
    prompts: Annotated[
        Path | None,
        typer.Option(
            help="Several prompts: .txt, one per line, .jsonl, of which only `text` counts, an "
            "image folder's captions, or pocket for those of the bundled photographs."
        ),
    ] = None,
    model: Annotated[
        str, typer.Option(help="pocket (bundled), a folder in diffusers layout, or a hub id.")
    ] = "pocket",
    width: Width = None,
    height: Height = None,
    steps: Steps = None,
    guidance: Guidance = None,
    shift: Annotated[
        float | None,
        typer.Option(
            help="Shift of noise levels, with --direct: lower spends more steps on detail; by "
            "default the model's own, by size with Flux."
        ),
    ] = None,
    seed: Annotated[
        list[int] | None, typer.Option(help="By default 0; may be given several times.")
    ] = None,
    negative_prompt: Annotated[
        str, typer.Option(help="What the image should not show; needs guidance.")
    ] = "",
    out: Annotated[
        Path, typer.Option(help="A folder, or for one image a .png or .jpg file.")
    ] = Path("images"),
    image_format: Annotated[
        str | None, typer.Option("--format", help="png (default) or jpeg (quality 95).")
    ] = None,
    init: Annotated[
        Path | None, typer.Option(help="Image to start from, enlarged to the size: refines it.")
    ] = None,
    strength: Annotated[
        float | None,
        typer.Option(help="With --init, the share of the steps made again; by default 0.35."),
    ] = None,
    stages: Stages = None,
    draft: Draft = None,
    direct: Direct = False,
    stage_strength: StageStrength = None,
    stage_steps: StageSteps = None,
    window: Window = None,
    low_bands: LowBands = None,
    keep_stages: Annotated[
        bool, typer.Option("--keep-stages", help="Keep the picture of each stage beside the image.")
    ] = False,
    lora: Annotated[
        list[Path] | None,
        typer.Option(help="A LoRA's file or folder, of any layout; may be given several times."),
    ] = None,
    lora_scale: Annotated[
        list[float] | None,
        typer.Option(help="How strongly it counts; by default 1. One for each LoRA, in order."),
    ] = None,
    weights: Annotated[
        str | None,
        typer.Option(
            help="The transformer's: fp8, int8, nf4, gguf:FILE or file:FILE (.safetensors)."
        ),
    ] = None,
    memory: Annotated[
        str | None,
        typer.Option(help="low, balanced (default) or high; stderr says what it does."),
    ] = None,
    max_memory: MaxMemory = None,
    factor: Factor = None,
    positions: Positions = None,
    trained_tokens: Annotated[
        int | None,
        typer.Option(help="With ntk or yarn: tokens a side of the training images, 64 by default."),
    ] = None,
    time_dependent: Annotated[
        bool | None,
        typer.Option("--time-dependent", help="With ntk or yarn: scale by the noise level."),
    ] = None,
    attention_chunk: Annotated[
        int | None, typer.Option(help="Largest number of queries of one attention call.")
    ] = None,
    dtype: Annotated[
        str, typer.Option(help="auto, float32, bfloat16 or float16; auto chooses by device.")
    ] = "auto",
) -> None:
    """Make images from prompts, by default at the model's own size.

    Each image carries its prompt, seed, settings and model. Images that
    already exist with the same settings are kept: a run that was stopped
    continues where it was.
    """
    from diffusion4k.errors import UsageError

    if (prompt is None) == (prompts is None):
        raise UsageError("give one prompt, or a file of them with --prompts (and not both)")

    from diffusion4k import sampling
    from diffusion4k.cli.early import check_generation
    from diffusion4k.support.files import remove_leftovers

    negative_prompt = as_utf8(negative_prompt)
    texts = [as_utf8(prompt)] if prompt is not None else sampling.read_prompts(prompts or "")
    how = stages_asked(
        stages,
        draft,
        direct,
        strength=stage_strength,
        steps=stage_steps,
        window=window,
        low_bands=low_bands,
    )
    size: dict[str, Any] = {
        "width": width,
        "height": height,
        "steps": steps,
        "guidance": guidance,
    }
    requests = [
        sampling.Request(
            text,
            each,
            negative_prompt=negative_prompt,
            **size,
            init=init,
            strength=strength,
            shift=shift,
            **how,
        )
        for text in texts
        for each in seed or [0]
    ]
    check_generation(model, width, height, steps, factor=factor, loras=lora or (), init=init)

    from diffusion4k.models.high_resolution import given_options

    high_resolution = given_options(
        sides=(width, height),
        positions=positions,
        trained_tokens=trained_tokens,
        time_dependent=time_dependent,
        attention_chunk=attention_chunk,
    )
    sampler = sampling.Sampler(
        model,
        dtype=dtype,
        max_memory=max_memory,
        factor=factor,
        memory=memory or "balanced",
        weights=weights,
        lora=lora,
        lora_scale=lora_scale,
        high_resolution=high_resolution,
    )
    if memory:
        typer.echo(str(sampler.placement), err=True)
    usual = sampler.family.defaults(sampler.folder).guidance
    if guidance is not None and guidance > 1 >= usual:
        typer.echo(
            f"warning: guidance {guidance:g}: {model} was made for {usual:g} (off), and "
            "more makes garish images: leave --guidance out",
            err=True,
        )
    # An image to start from takes the stages' place.
    _warn(sampler, size | (how if init is None else {"stages": ()}), high_resolution)
    remove_leftovers(out if out.is_dir() else out.parent)
    outputs = sampling.generate(
        requests, sampler, out=out, image_format=image_format, keep_stages=keep_stages
    )
    made = sum(output.is_new for output in outputs)
    for output in outputs:
        typer.echo(output.path)
    typer.echo(f"{made} made, {len(outputs) - made} already there", err=True)


def _warn(
    sampler: Any,
    request: dict[str, Any],
    high_resolution: dict[str, Any],
) -> None:
    """Say so if memory will not suffice."""
    from diffusion4k.planning.warning import generation_warning

    kind = (sampler.weights or "").partition(":")[0]
    options = {
        **request,
        "dtype": sampler.dtype,
        "memory": sampler.placement.level,
        "max_memory": sampler.placement.max_memory,
        # A GGUF file has about the bits of its name's number: it is counted as eight.
        "weights": {"": None, "file": None, "gguf": "int8"}.get(kind, kind),
    }
    if warning := generation_warning(
        str(sampler.folder), sampler.family.factor, options, high_resolution=high_resolution
    ):
        typer.echo(warning, err=True)
