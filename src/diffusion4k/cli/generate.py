"""`diffusion4k generate`: prompts to images."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from diffusion4k.cli.arguments import as_utf8
from diffusion4k.cli.image_options import (
    HighResolutionFlags,
    LoadingFlags,
    SamplingFlags,
    StageFlags,
    given_high_resolution,
    with_section_options,
)

if TYPE_CHECKING:
    from diffusion4k.sampling import Sampler, SamplingOptions

__all__ = ["register"]

_EXAMPLES = """Examples:

diffusion4k generate "a mountain lake at dawn" --width 1024 --height 1024 --out lake.png

diffusion4k generate "a mountain lake at dawn" --init lake.png --strength 0.35 --out lake-4k.png

diffusion4k generate "a mountain lake at dawn" --stages 1024,2048,4096 --out lake-4k.png

diffusion4k generate --prompts pocket --seed 0 --seed 1 --format jpeg --out images
"""


def register(app: typer.Typer) -> None:
    """Add the verb to the command line."""
    app.command(epilog=_EXAMPLES)(with_section_options(generate))


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
    seed: Annotated[
        list[int] | None, typer.Option(help="By default 0; may be given several times.")
    ] = None,
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
    lora: Annotated[
        list[Path] | None,
        typer.Option(help="A LoRA's file or folder, of any layout; may be given several times."),
    ] = None,
    lora_scale: Annotated[
        list[float] | None,
        typer.Option(help="How strongly it counts; by default 1. One for each LoRA, in order."),
    ] = None,
    keep_stages: Annotated[
        bool, typer.Option("--keep-stages", help="Keep the picture of each stage beside the image.")
    ] = False,
    *,
    sampling: SamplingFlags,
    stages: StageFlags,
    loading: LoadingFlags,
    high_resolution: HighResolutionFlags,
) -> None:
    """Make images from prompts, by default at the model's own size.

    Each image carries its prompt, seed, settings and model. Images that
    already exist with the same settings are kept: a run that was stopped
    continues where it was.
    """
    from diffusion4k.errors import UsageError

    if (prompt is None) == (prompts is None):
        raise UsageError("give one prompt, or a file of them with --prompts (and not both)")

    from diffusion4k.cli.early import check_generation
    from diffusion4k.sampling import Request, read_prompts
    from diffusion4k.support.files import remove_leftovers

    asked = stages.added_to(sampling)
    asked = asked.model_copy(update={"negative_prompt": as_utf8(asked.negative_prompt)})
    texts = [as_utf8(prompt)] if prompt is not None else read_prompts(prompts or "")
    requests = [
        Request.of(asked, text, each, init=init, strength=strength)
        for text in texts
        for each in seed or [0]
    ]
    check_generation(model, asked, factor=loading.factor, loras=lora or (), init=init)

    from diffusion4k.sampling import Sampler
    from diffusion4k.sampling import generate as make_images

    beyond = given_high_resolution(high_resolution, asked)
    sampler = Sampler(
        model,
        **loading.model_dump(exclude_unset=True),
        lora=lora,
        lora_scale=lora_scale,
        high_resolution=beyond,
    )
    if "memory" in loading.model_fields_set:
        typer.echo(str(sampler.placement), err=True)
    usual = sampler.family.defaults(sampler.folder).guidance
    if asked.guidance is not None and asked.guidance > 1 >= usual:
        typer.echo(
            f"warning: guidance {asked.guidance:g}: {model} was made for {usual:g} (off), and "
            "more makes garish images: leave --guidance out",
            err=True,
        )
    _warn(sampler, asked if init is None else asked.directly(), beyond)
    remove_leftovers(out if out.is_dir() else out.parent)
    outputs = make_images(
        requests, sampler, out=out, image_format=image_format, keep_stages=keep_stages
    )
    made = sum(output.is_new for output in outputs)
    for output in outputs:
        typer.echo(output.path)
    typer.echo(f"{made} made, {len(outputs) - made} already there", err=True)


def _warn(sampler: "Sampler", sampling: "SamplingOptions", high_resolution: dict[str, Any]) -> None:
    """Say so if memory will not suffice."""
    from diffusion4k.planning.warning import generation_warning

    kind = (sampler.weights or "").partition(":")[0]
    options = {
        "dtype": sampler.dtype,
        "memory": sampler.placement.level,
        "max_memory": sampler.placement.max_memory,
        # A GGUF file has about the bits of its name's number: it is counted as eight.
        "weights": {"": None, "file": None, "gguf": "int8"}.get(kind, kind),
    }
    if warning := generation_warning(
        str(sampler.folder),
        sampler.family.factor,
        sampling,
        options,
        high_resolution=high_resolution,
    ):
        typer.echo(warning, err=True)
