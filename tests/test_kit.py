"""What a contributor finds: targets, hooks, templates, citation say the same as the code."""

import os
import re
import subprocess
from pathlib import Path

import pytest
import yaml

import diffusion4k
from tests.conftest import LENGTHY

ROOT = Path(__file__).parents[1]
IN_MAKE = ("MAKEFLAGS", "MAKELEVEL", "MFLAGS")


def make(*arguments: str) -> str:
    """What make prints, whether or not a make (of `make test`) runs these tests."""
    return subprocess.run(
        ["make", "--no-print-directory", *arguments],
        cwd=ROOT,
        env={key: value for key, value in os.environ.items() if key not in IN_MAKE},
        capture_output=True,
        text=True,
        check=True,
    ).stdout


def test_make_lists_every_target() -> None:
    (phony,) = re.findall(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    listed = [line.split()[1] for line in make().splitlines()]
    assert listed == phony.split()


def test_hooks_are_the_checks_of_lint() -> None:
    config = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())
    entries = [hook["entry"] for repo in config["repos"] for hook in repo["hooks"]]
    lines = re.findall(r"^\.venv/bin/(?!python).*$", make("-n", "lint"), re.MULTILINE)
    assert entries == [line.removesuffix(" .") for line in lines]


def test_citation_is_of_this_version() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["version"] == diffusion4k.__version__
    text = (ROOT / "pyproject.toml").read_text()
    assert f'version = "{citation["version"]}"' in text
    assert f'license = "{citation["license"]}"' in text


@pytest.mark.parametrize("name", ["bug", "idea"])
def test_forms_can_be_read(name: str) -> None:
    form = yaml.safe_load((ROOT / ".github" / "ISSUE_TEMPLATE" / f"{name}.yml").read_text())
    assert form["name"] and form["description"]
    fields = [field for field in form["body"] if field["type"] != "markdown"]
    assert len({field["id"] for field in fields}) == len(fields) > 3
    assert all(field["attributes"]["label"] for field in fields)


def test_benchmarks_need_no_tests() -> None:
    for script in (ROOT / "benchmarks").rglob("*.py"):
        assert not re.search(r"^\s*(from|import) tests\b", script.read_text(), re.MULTILINE), script


def test_lengthy_tests_exist() -> None:
    assert [name for name in LENGTHY if not (ROOT / "tests" / name).exists()] == []
