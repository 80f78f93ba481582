"""`docs/extend-family.md`: its file is a family, and its test what proves it."""

import importlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import diffusion4k.families
from diffusion4k.families import families, family_of
from tests.manual.pages import ROOT, write_modules

PAGE = "extend-family.md"


@pytest.fixture
def contract(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[type]:
    """The page's two files in a folder, the first among the families."""
    write_modules(PAGE, tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    paths = [*diffusion4k.families.__path__, str(tmp_path / "families")]
    (tmp_path / "families").mkdir()
    (tmp_path / "aura_flow.py").rename(tmp_path / "families" / "aura_flow.py")
    monkeypatch.setattr(diffusion4k.families, "__path__", paths)
    families.cache_clear()
    yield importlib.import_module("test_aura_flow").TestAuraFlow
    families.cache_clear()
    sys.modules.pop("test_aura_flow")
    sys.modules.pop("diffusion4k.families.aura_flow", None)


def test_the_page_s_file_is_a_family(contract: type, tmp_path: Path) -> None:
    made = contract()
    model = made.build(tmp_path / "model")
    assert family_of(model).name == "aura-flow"
    made.test_sampling_is_the_stock_pipeline_s(model)
    made.test_velocity_is_the_stock_pipeline_s(model)
    made.test_one_stage_is_the_stock_pipeline_s_image_to_image(model)
    made.test_every_part_can_be_planned(model)


PLUGIN = """
from pathlib import Path
import diffusion4k.families
diffusion4k.families.__path__.append(str(Path(__file__).parent / "families"))
"""


@pytest.mark.slow
def test_the_page_s_test_passes(contract: type, tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_text(PLUGIN)
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_aura_flow.py"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(ROOT)])},
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stdout[-3000:]
