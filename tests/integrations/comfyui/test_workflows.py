"""There is an example workflow of each node, and its values are those that the nodes take."""

import json
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tests.integrations.comfyui.conftest import FOLDER, imported

LINKED = ("IMAGE", "LATENT", "VAE")
WORKFLOWS = sorted((FOLDER / "example_workflows").glob("*.json"))


def read(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text())


def test_each_node_has_one(nodes: ModuleType) -> None:
    ours = set(nodes.NODE_CLASS_MAPPINGS)
    assert ours == set(nodes.NODE_DISPLAY_NAME_MAPPINGS)
    by_name = {path.stem.replace("_", ""): path for path in WORKFLOWS}
    assert {name.removeprefix("Diffusion4K").lower() for name in ours} == set(by_name)
    for name in ours:
        workflow = read(by_name[name.removeprefix("Diffusion4K").lower()])
        assert name in {node["type"] for node in workflow["nodes"]}


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_values_and_links_fit_the_nodes(nodes: ModuleType, path: Path) -> None:
    workflow = read(path)
    by_id = {node["id"]: node for node in workflow["nodes"]}
    assert len(by_id) == workflow["last_node_id"]
    for number, source, slot, target, place, kind in workflow["links"]:
        output, taken = by_id[source]["outputs"][slot], by_id[target]["inputs"][place]
        assert number in output["links"] and taken["link"] == number
        assert output["type"] == kind and taken["type"] in (kind, "*")
    for node in workflow["nodes"]:
        if (made := nodes.NODE_CLASS_MAPPINGS.get(node["type"])) is None:
            assert not node["type"].startswith("Diffusion4K")
            continue
        required = made.INPUT_TYPES()["required"]
        linked = {entry["name"]: entry["type"] for entry in node["inputs"]}
        assert linked == {
            k: v[0] for k, v in required.items() if v[0] in ("IMAGE", "LATENT", "VAE")
        }
        assert all(entry["link"] for entry in node["inputs"])
        widgets = [v for k, v in required.items() if k not in linked]
        for value, (kind, options) in zip(node["widgets_values"], widgets, strict=True):
            if isinstance(kind, list):
                assert value in kind
            else:
                assert options["min"] <= value <= options["max"]
        assert [output["type"] for output in node["outputs"]] == list(made.RETURN_TYPES)
        assert callable(getattr(made, made.FUNCTION)) and made.CATEGORY and made.DESCRIPTION


def test_without_the_package_the_error_says_what_to_install(
    nodes: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "copied").symlink_to(FOLDER)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ImportError, match="pip install"):
        imported(tmp_path / "copied")
