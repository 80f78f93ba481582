"""`python -m tests.curation.captions.command`: `diffusion4k` with the verb `caption` alone."""

import importlib.util
from collections.abc import Callable
from pathlib import Path

import diffusion4k.cli
from diffusion4k.cli.main import app, main


def verb() -> Callable[..., None]:
    """The verb's function, by its file."""
    path = Path(diffusion4k.cli.__path__[0]) / "dataset" / "caption.py"
    spec = importlib.util.spec_from_file_location("caption_verb", path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.caption


if __name__ == "__main__":
    app.command("caption")(verb())
    main()
