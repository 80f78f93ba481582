"""The folder of nodes, linked into a stand-in of ComfyUI and imported as ComfyUI does."""

import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from benchmarks.comfyui_stand_in import stand_in_modules

FOLDER = Path(__file__).parents[3] / "integrations" / "comfyui"


def imported(folder: Path) -> ModuleType:
    """`folder` as a package under ComfyUI's kind of name: the path, without dots."""
    name = str(folder).replace(".", "_x_")
    spec = importlib.util.spec_from_file_location(name, folder / "__init__.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """ComfyUI's `models` folder."""
    return tmp_path_factory.mktemp("ComfyUI") / "models"


@pytest.fixture(scope="module")
def nodes(models: Path) -> Iterator[ModuleType]:
    """The package of nodes, with stand-ins in place of ComfyUI's modules."""
    before = dict(sys.modules)
    sys.modules.update(stand_in_modules(models))
    link = models.parent / "custom_nodes" / "diffusion-4k.nodes"
    link.parent.mkdir()
    link.symlink_to(FOLDER)
    yield imported(link)
    for name in sys.modules.keys() - before.keys():
        if name.startswith(("comfy", "folder_paths", str(link.parent).replace(".", "_x_"))):
            del sys.modules[name]
