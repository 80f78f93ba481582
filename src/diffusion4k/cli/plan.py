"""`diffusion4k plan`: what a recipe or an image takes, before it is started."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypedDict

import typer

from diffusion4k.cli.arguments import key_values, stages_asked
from diffusion4k.cli.image_options import (
    IMAGE,
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

if TYPE_CHECKING:
    from diffusion4k.planning.plan import Plan

__all__ = ["register"]

_EXAMPLES = """Examples:

diffusion4k plan recipes/sd3-2b-wlf.yaml batch_size=1 --gpus 8 --gpu-memory 80GiB

diffusion4k plan --model flux.1-dev --width 4096 --height 4096 --gpu-memory 24GiB

diffusion4k plan --model sd3-medium --width 4096 --height 4096 --stages 1024,2048,4096

diffusion4k plan recipes/pocket-wlf.yaml
"""


def register(app: typer.Typer) -> None:
    """Add the verb to the command line."""
    app.command(epilog=_EXAMPLES)(plan)


def plan(
    recipe: Annotated[
        Path | None,
        typer.Argument(
            help="A training run as a YAML file; without one: an image.", show_default=False
        ),
    ] = None,
    overrides: Annotated[list[str] | None, key_values("recipe", "batch_size=1")] = None,
    model: Annotated[
        str | None,
        typer.Option(
            help="pocket (default), a folder, or a name as sd3-medium.", rich_help_panel=IMAGE
        ),
    ] = None,
    width: Width = None,
    height: Height = None,
    steps: Steps = None,
    guidance: Guidance = None,
    dtype: Annotated[
        str | None,
        typer.Option(help="auto, float32, bfloat16 or float16.", rich_help_panel=IMAGE),
    ] = None,
    memory: Annotated[
        str | None, typer.Option(help="low, balanced or high.", rich_help_panel=IMAGE)
    ] = None,
    weights: Annotated[
        str | None, typer.Option(help="fp8, int8 or nf4.", rich_help_panel=IMAGE)
    ] = None,
    max_memory: MaxMemory = None,
    factor: Factor = None,
    positions: Positions = None,
    stages: Stages = None,
    draft: Draft = None,
    direct: Direct = False,
    stage_strength: StageStrength = None,
    stage_steps: StageSteps = None,
    window: Window = None,
    low_bands: LowBands = None,
    images: Annotated[
        int | None, typer.Option(help="Number of photographs of a training set that is not here.")
    ] = None,
    gpus: Annotated[
        int | None,
        typer.Option(help="GPUs of the machine; without any such option, plan for this one."),
    ] = None,
    gpu_memory: Annotated[
        str | None, typer.Option(help="Memory of each GPU; by default 80GiB.")
    ] = None,
    ram: Annotated[str | None, typer.Option(help="Main memory, e.g. 512GiB.")] = None,
    disk: Annotated[str | None, typer.Option(help="Free disk space, e.g. 2TiB.")] = None,
    bandwidth: Annotated[
        str | None,
        typer.Option(help="Bandwidth between a GPU and anything else, by default 23.3GiB/s."),
    ] = None,
    teraflops: Annotated[
        float | None, typer.Option(help="Speed of a GPU in bfloat16; by default 312, an A100's.")
    ] = None,
    utilisation: Annotated[
        float | None, typer.Option(help="Share of that speed that is reached; by default 0.4.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Say what a training run or an image takes: memory, computations, time, disk.

    Nothing is loaded, downloaded or computed: the network's code runs on
    shapes alone. The configurations of a model are enough; those of published
    models are built in. The exit code is 0 even if it does not fit.
    """
    image = {
        "model": model,
        "width": width,
        "height": height,
        "steps": steps,
        "guidance": guidance,
        "dtype": dtype,
        "memory": memory,
        "weights": weights,
        "max_memory": max_memory,
        "factor": factor,
        "positions": positions,
        **stages_asked(
            stages,
            draft,
            direct,
            strength=stage_strength,
            steps=stage_steps,
            window=window,
            low_bands=low_bands,
        ),
    }
    described: _DescribedMachine = {
        "gpus": gpus,
        "gpu_memory": gpu_memory,
        "ram": ram,
        "disk": disk,
        "bandwidth": bandwidth,
        "teraflops": teraflops,
    }
    result = _plan(recipe, overrides, image, described, utilisation, images)
    if as_json:
        import json

        typer.echo(json.dumps(result.as_dict(), indent=2))
    else:
        from diffusion4k.planning.report import report

        typer.echo(report(result))


class _DescribedMachine(TypedDict):
    """Options about a machine that is not this one."""

    gpus: int | None
    gpu_memory: str | None
    ram: str | None
    disk: str | None
    bandwidth: str | None
    teraflops: float | None


def _plan(
    recipe: Path | None,
    overrides: list[str] | None,
    image: dict[str, Any],
    described: _DescribedMachine,
    utilisation: float | None,
    images: int | None,
) -> "Plan":
    from diffusion4k.cli.early import check_image
    from diffusion4k.errors import UsageError
    from diffusion4k.models.folder import bundled_models
    from diffusion4k.models.published import known_id
    from diffusion4k.training.recipe.recipe import load_recipe

    given = {name: value for name, value in image.items() if value is not None}
    if recipe is not None and given:
        name = next(iter(given)).replace("_", "-")
        what = "how stages are made belongs" if name.startswith("stage") else f"--{name} belongs"
        raise UsageError(
            f"{what} to an image, {recipe} to a training run: give one of them "
            "(a recipe's own values are changed as KEY=VALUE)"
        )
    checked = load_recipe(recipe, overrides) if recipe else None
    model = checked.model if checked else given.get("model", "pocket")
    if not (model in bundled_models() or Path(model).exists()):
        known_id(model)
    if not checked:
        check_image(model, *(given.get(key) for key in ("width", "height", "steps", "factor")))

    from diffusion4k.accounting.blueprint import Blueprint
    from diffusion4k.accounting.machine import described_machine, present_machine

    machine = (
        described_machine(**described, utilisation=utilisation)
        if any(value is not None for value in described.values())
        else present_machine(utilisation, folder=checked.output if checked else None)
    )
    if checked:
        blueprint = Blueprint(checked.model, **checked.model_options)
        from diffusion4k.planning.training import plan_training

        return plan_training(blueprint, checked, machine, images)
    if images is not None:
        raise UsageError("--images belongs to a training run: give a recipe")
    from diffusion4k.models.high_resolution import given_options
    from diffusion4k.planning.generation import GenerationSetup, plan_generation

    blueprint = Blueprint(
        given.pop("model", "pocket"),
        given.pop("factor", None),
        given_options(
            sides=(given.get("width"), given.get("height")),
            positions=given.pop("positions", None),
        ),
    )
    setup = GenerationSetup.of(blueprint, on_gpu=machine.on_gpu, **given)
    return plan_generation(blueprint, setup, machine)
