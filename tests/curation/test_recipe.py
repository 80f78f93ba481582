"""Recipes: the shipped ones, and what is wrong with others, in one line."""

from pathlib import Path

import pytest
import yaml

from diffusion4k.curation.recipe import load_dataset_recipe
from diffusion4k.errors import UsageError

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("name", ["dataset-4k", "pocket-dataset"])
def test_shipped_recipes_are_valid(name: str) -> None:
    recipe = load_dataset_recipe(ROOT / f"recipes/{name}.yaml")
    assert recipe.output == Path(f"runs/{name}")


def test_the_large_one_is_the_papers(tmp_path: Path) -> None:
    recipe = load_dataset_recipe(ROOT / "recipes/dataset-4k.yaml")
    assert recipe.header.min_shorter_side == 4096
    assert recipe.publish.format == "copy"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"sources": []}, r"sources: found \[\], allowed 1 or more values$"),
        (
            {"sources": [{"kind": "tar", "path": "x"}]},
            r"yaml: sources.0.kind: found 'tar', .*'huggingface'$",
        ),
        (
            {"sources": [{"path": "x", "prefix": "../up"}]},
            "sources.0.prefix: found '../up', allowed letters, digits",
        ),
        (
            {"sources": [{"kind": "parquet", "path": "x"}]},
            r"sources.0: a parquet source needs one of bytes, [^;]*$",
        ),
        ({"sources": [{"kind": "parquet", "path": "x", "file": "a", "url": "b"}]}, "one of"),
        ({"header": {"min_side": 4096}}, "header.min_side: unknown key"),
        ({"header": {"max_aspect": 9}}, "header.max_aspect: found 9"),
        ({"split": {"share": 2}}, "split.share: found 2"),
        ({"scores": {"min_aesthetic": 5}}, "needs aesthetic"),
        ({"scores": {"aesthetic": "x.pth"}}, "scores need clip"),
        (
            {"hooks": [{"name": "a", "function": "no function"}]},
            "hooks.0.function: found 'no function', allowed `module:function`$",
        ),
        ({"hooks": [{"name": "a", "function": "m:f"}] * 2}, "two are named a"),
        ({"hooks": [{"name": "width", "function": "m:f"}]}, "width is a column"),
        ({"publish": {"max_shorter_side": 99}}, "needs a format other than copy"),
        ({"output": "photos"}, "is a source"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changes: dict[str, object], said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    path = Path("recipe.yaml")
    path.write_text(yaml.safe_dump({"output": "out", "sources": [{"path": "photos"}]} | changes))
    with pytest.raises(UsageError, match=said) as error:
        load_dataset_recipe(path)
    assert "\n" not in str(error.value) and str(error.value).startswith("recipe.yaml: ")
