"""A build in a process of its own, to be killed or starved.

python -m tests.curation.process RECIPE.json [LARGEST_FILE] [RAY]
"""

import json
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import typer

import diffusion4k.curation.steps.header as header_step
import diffusion4k.curation.steps.measure as measure_step
import diffusion4k.curation.store as store
from diffusion4k.curation.recipe import DatasetRecipe

ROOT = Path(__file__).parents[2]
ENTRY = "from tests.curation.process import main; main()"


def start(recipe: DatasetRecipe, **settings: str) -> subprocess.Popen[str]:
    """Start the build; `settings` are LARGEST_FILE (bytes), RAY (address), SLOW (seconds)."""
    content = recipe.model_dump_json()
    # Slower where nothing else is slow: the kills shall come in the midst of each step.
    return subprocess.Popen(
        [sys.executable, "-c", ENTRY, content],
        env={**os.environ, **settings},
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def main() -> None:
    """As the command line does it."""
    from diffusion4k.cli import main as command

    store.SECONDS = 0.0
    recipe = DatasetRecipe.model_validate(json.loads(sys.argv[1]))
    if largest := os.environ.get("LARGEST_FILE"):
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (int(largest), int(largest)))
    if slow := os.environ.get("SLOW"):
        _slow_down(float(slow))
    app = typer.Typer(pretty_exceptions_enable=False)

    @app.command()
    def build() -> None:
        from diffusion4k.curation.build import build_dataset

        build_dataset(recipe, ray=os.environ.get("RAY"))

    command.app = app
    sys.argv[1:] = []
    command.main()


def _slow_down(seconds: float) -> None:
    import time

    for module, name in ((header_step, "image_header"), (measure_step, "open_pixels")):
        real = getattr(module, name)

        def slowly(*args: object, _real=real, **keys: object) -> object:
            time.sleep(seconds)
            return _real(*args, **keys)

        setattr(module, name, slowly)
