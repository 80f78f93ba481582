"""`diffusion4k plan`: what a recipe or an image takes, before it is started."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from diffusion4k.cli.arguments import key_values
from diffusion4k.cli.image_options import (
    IMAGE,
    HighResolutionFlags,
    PlannedLoadingFlags,
    SamplingFlags,
    StageFlags,
    given_high_resolution,
    with_section_options,
)

if TYPE_CHECKING:
    from diffusion4k.accounting.machine import Machine
    from diffusion4k.models.high_resolution import HighResolution
    from diffusion4k.planning.plan import Plan
    from diffusion4k.sampling.options import LoadingOptions, SamplingOptions

__all__ = ["register"]

_EXAMPLES = """Examples:

diffusion4k plan recipes/sd3-2b-wlf.yaml batch_size=1 --gpus 8 --gpu-memory 80GiB

diffusion4k plan --model flux.1-dev --width 4096 --height 4096 --gpu-memory 24GiB

diffusion4k plan --model sd3-medium --width 4096 --height 4096 --stages 1024,2048,4096

diffusion4k plan recipes/pocket-wlf.yaml
"""


def register(app: typer.Typer) -> None:
    """Add the verb to the command line."""
    app.command(epilog=_EXAMPLES)(with_section_options(plan))


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
    *,
    sampling: SamplingFlags,
    stages: StageFlags,
    loading: PlannedLoadingFlags,
    high_resolution: HighResolutionFlags,
) -> None:
    """Say what a training run or an image takes: memory, computations, time, disk.

    Nothing is loaded, downloaded or computed: the network's code runs on
    shapes alone. The configurations of a model are enough; those of published
    models are built in. The exit code is 0 even if it does not fit.
    """
    from diffusion4k.errors import UsageError

    sections = (sampling, loading, high_resolution, stages)
    given = [name for section in sections for name in section.model_fields_set]
    if recipe is not None and (given or model is not None):
        name = given[0].replace("_", "-") if model is None else "model"
        raise UsageError(
            f"--{name} belongs to an image, {recipe} to a training run: give one of them "
            "(a recipe's own values are changed as KEY=VALUE)"
        )
    if recipe is None and images is not None:
        raise UsageError("--images belongs to a training run: give a recipe")

    def machine(folder: Path | None = None) -> "Machine":
        from diffusion4k.accounting.machine import described_machine, present_machine

        figures = (gpus, gpu_memory, ram, disk, bandwidth, teraflops)
        if any(figure is not None for figure in figures):
            return described_machine(
                gpus=gpus,
                gpu_memory=gpu_memory,
                ram=ram,
                disk=disk,
                bandwidth=bandwidth,
                teraflops=teraflops,
                utilisation=utilisation,
            )
        return present_machine(utilisation, folder=folder)

    if recipe is None:
        image = stages.added_to(sampling)
        result = _plan_image(model or "pocket", image, loading, high_resolution, machine)
    else:
        result = _plan_training(recipe, overrides, machine, images)
    if as_json:
        import json

        typer.echo(json.dumps(result.as_dict(), indent=2))
    else:
        from diffusion4k.planning.report import report

        typer.echo(report(result))


def _plan_training(
    path: Path,
    overrides: list[str] | None,
    machine: "Callable[[Path], Machine]",
    images: int | None,
) -> "Plan":
    from diffusion4k.training.recipe.recipe import load_recipe

    recipe = load_recipe(path, overrides)
    _require_known(recipe.model)
    from diffusion4k.accounting.blueprint import Blueprint
    from diffusion4k.planning.training import plan_training

    blueprint = Blueprint(recipe.model, **recipe.model_options)
    return plan_training(blueprint, recipe, machine(recipe.output), images)


def _plan_image(
    model: str,
    image: "SamplingOptions",
    loading: "LoadingOptions",
    high_resolution: "HighResolution",
    machine: "Callable[[], Machine]",
) -> "Plan":
    from diffusion4k.cli.early import check_image

    _require_known(model)
    check_image(model, image, loading.factor)
    from diffusion4k.accounting.blueprint import Blueprint
    from diffusion4k.planning.generation import GenerationSetup, plan_generation

    beyond = given_high_resolution(high_resolution, image)
    blueprint = Blueprint(model, loading.factor, beyond)
    present = machine()
    options = loading.model_dump(exclude_unset=True, exclude={"factor"})
    setup = GenerationSetup.of(blueprint, image, on_gpu=present.on_gpu, **options)
    return plan_generation(blueprint, setup, present)


def _require_known(model: str) -> None:
    from diffusion4k.models.folder import bundled_models
    from diffusion4k.models.published import known_id

    if not (model in bundled_models() or Path(model).exists()):
        known_id(model)
