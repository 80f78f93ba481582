"""Numbers against NumPy and plain counting; figures, page and card as a user gets them."""

import json
import re
import warnings
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as parquet
import pytest
import typer
import yaml
from PIL import Image
from typer.testing import CliRunner, Result

from diffusion4k.cli import dataset as dataset_verb
from diffusion4k.curation.stats import gallery as gallery_module
from diffusion4k.curation.stats.card import write_card
from diffusion4k.curation.stats.collect import PAPER, collect
from diffusion4k.curation.stats.gallery import choose, draw_gallery
from diffusion4k.curation.stats.manifest import Limit, read_manifest
from diffusion4k.curation.verify.verify import verify_dataset
from diffusion4k.errors import Diffusion4kError, UsageError
from tests.curation.stats.conftest import EVAL, TRAIN, fill, make_build

app = typer.Typer()
app.callback()(lambda: None)
dataset_verb.register(app)

FIGURES = ("gallery", "phrases", "quality", "sizes", "steps", "words")


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["dataset", "stats", *map(str, arguments)])


@pytest.fixture(scope="module")
def described(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A build with its card, and what was written about it; not to be changed."""
    dataset = make_build(tmp_path_factory.mktemp("described") / "build")
    metadata = dataset / "train" / "metadata.jsonl"
    metadata.write_text(metadata.read_text().replace("A red train", "<script>$x^2$ & red train"))
    out = dataset.parent / "out"
    result = run(dataset, "--out", out, "--card", "--license", "cc0-1.0")
    assert result.exit_code == 0, result.output
    assert result.stdout.split() == [str(out / "report.html"), str(dataset / "README.md")]
    return dataset, out


def test_sizes_are_numpys(described: tuple[Path, Path]) -> None:
    dataset, out = described
    facts = json.loads((out / "stats.json").read_text())
    assert list(facts["parts"]) == ["train", "eval"]
    for name, sizes in (("train", TRAIN), ("eval", EVAL)):
        part = facts["parts"][name]
        assert part["pictures"] == len(sizes)
        for side, values in zip(("width", "height"), np.array(sizes).T, strict=True):
            assert part[side] == {"median": np.median(values), "mean": values.mean()}
        assert part["bytes"] == sum(p.stat().st_size for p in (dataset / name).glob("*.jpg"))
    assert [row["name"] for row in facts["table"]] == [*(r.name for r in PAPER), "train", "eval"]
    assert facts["phrases"]["3"][0] == ["red train crosses", 2]
    assert facts["phrases"]["2"][:2] == [["red train", 4], ["winding river", 4]]
    sharpness = facts["build"]["measures"]["sharpness"]
    assert sharpness["measured"] == 15
    assert sharpness["limits"] == [{"kind": "min", "value": 2}]


def test_the_papers_rows_are_those_of_the_supplement() -> None:
    assert [
        (r.name, r.median_height, r.median_width, r.mean_height, r.mean_width) for r in PAPER
    ] == [
        ("PixArt-30k", 1615, 1801, 2531, 2656),
        ("Aesthetic-Train", 4128, 4640, 4578, 4838),
        ("Aesthetic-Eval@2048", 2983, 3613, 3143, 3746),
        ("Aesthetic-Eval@4096", 4912, 6449, 5269, 6420),
    ]


def test_figures_as_png_and_pdf_the_same_every_time(described: tuple[Path, Path]) -> None:
    dataset, first = described
    second = first.with_name("second")
    assert run(dataset, "--out", second).exit_code == 0
    expected = {f"{n}.{e}" for n in FIGURES for e in ("png", "pdf")} | {"report.html", "stats.json"}
    assert {path.name for path in first.iterdir()} == expected
    for name in expected:
        assert (first / name).read_bytes() == (second / name).read_bytes(), name
    for name in FIGURES:
        with Image.open(first / f"{name}.png") as image:
            image.load()
        assert (first / f"{name}.pdf").read_bytes().startswith(b"%PDF-")


class Page(HTMLParser):
    """Sources, links and text of a page."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.sources: list[str] = []
        self.text = ""
        self.feed(path.read_text())

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.sources += [str(v) for k, v in attributes if k in ("src", "href")]
        assert tag not in ("link", "script")

    def handle_data(self, data: str) -> None:
        self.text += data


def test_the_page_needs_nothing_else(described: tuple[Path, Path]) -> None:
    path = described[1] / "report.html"
    page = Page(path)
    assert len(page.sources) == len(FIGURES) - 2 + len(TRAIN)  # Phrases and gallery are HTML.
    assert all(source.startswith("data:image/") for source in page.sources)
    assert "url(" not in path.read_text()
    assert "<script>$x^2$ & red train crosses" in page.text
    assert re.search(r"Aesthetic-Train\s*12,015\s*4,128\s*4,640\s*4,578\s*4,838", page.text)
    assert "30.0 %" in page.text
    assert "noise (3)" in page.text


def test_a_plain_folder(tmp_path: Path) -> None:
    folder = fill(tmp_path / "plain", TRAIN)
    (folder / "0.jpg").write_bytes(b"")
    assert run(folder, "--out", tmp_path / "out", "--samples", 2).exit_code == 0
    facts = json.loads((tmp_path / "out" / "stats.json").read_text())
    assert (list(facts["parts"]), facts["build"], facts["problems"]) == (["plain"], None, 1)
    assert facts["parts"]["plain"]["pictures"] == len(TRAIN) - 1
    assert len(facts["gallery"]) == 2
    assert not (tmp_path / "out" / "quality.png").exists()


def test_a_build_without_captions(build: Path, tmp_path: Path) -> None:
    for part in ("train", "eval"):
        metadata = build / part / "metadata.jsonl"
        rows = [json.loads(line) for line in metadata.read_text().splitlines()]
        metadata.write_text("".join(json.dumps(row | {"text": ""}) + "\n" for row in rows))
    fetched = build / "work" / "fetched"
    fetched.mkdir(parents=True)
    (fetched / "a.jpg").write_bytes((build / "train" / "0.jpg").read_bytes())
    assert run(build, "--out", tmp_path / "out", "--samples", 1).exit_code == 0
    facts = json.loads((tmp_path / "out" / "stats.json").read_text())
    assert facts["parts"]["train"]["pictures"] == len(TRAIN)
    assert facts["problems"] == 0
    assert not (tmp_path / "out" / "words.png").exists()
    assert "no captions" in Page(tmp_path / "out" / "report.html").text
    assert verify_dataset(build, progress=False).counts == {"caption-missing": 6}


def test_manifest(build: Path) -> None:
    manifest = read_manifest(build)
    assert manifest
    table = parquet.read_table(build / "manifest.parquet").to_pylist()
    assert list(manifest.measures) == ["sharpness", "noise"]
    for name, values in manifest.measures.items():
        expected = [np.nan if row[name] is None else row[name] for row in table]
        np.testing.assert_array_equal(values, expected)
    assert manifest.kept.tolist() == [row["kept"] for row in table]
    assert [(s.name, s.given, s.dropped, s.kept) for s in manifest.steps] == [
        ("header", 20, 5, 15),
        ("duplicates", 15, 0, 15),
        ("quality", 15, 9, 6),
    ]
    assert manifest.steps[2].reasons == {"sharpness": 6, "noise": 3}
    assert manifest.limits["noise"] == [Limit("min", 0.5), Limit("max", 8)]
    assert manifest.limits["sharpness"] == [Limit("min", 2)]
    assert manifest.limits["aesthetic"] == [Limit("min", 4.5)]


def without_notes(build: Path) -> None:
    path = build / "manifest.parquet"
    parquet.write_table(parquet.read_table(path).replace_schema_metadata({}), path)


def test_thresholds_of_a_recipe_beside_the_manifest(build: Path) -> None:
    without_notes(build)
    manifest = read_manifest(build)
    assert manifest and manifest.limits == {}
    (build / "recipe.yaml").write_text(
        "thresholds: {min_sharpness: 2, max_noise: 8}\n"
        "hooks: [{name: nsfw, function: 'a:b', max: 0.2}]\n"
    )
    manifest = read_manifest(build)
    assert manifest
    assert manifest.limits == {
        "sharpness": [Limit("min", 2)],
        "noise": [Limit("max", 8)],
        "nsfw": [Limit("max", 0.2)],
    }


def test_damaged_files_are_named(build: Path, tmp_path: Path) -> None:
    (build / "counts.json").write_text('{"steps": [1]}')
    with pytest.raises(Diffusion4kError, match=r"counts\.json: damaged"):
        read_manifest(build)
    (build / "counts.json").unlink()
    without_notes(build)
    (build / "recipe.yaml").write_text("a: [")
    with pytest.raises(Diffusion4kError, match=r"recipe\.yaml: not readable"):
        read_manifest(build)
    parquet.write_table(pa.table({"name": ["a"]}), build / "manifest.parquet")
    with pytest.raises(Diffusion4kError, match=r"manifest\.parquet: damaged"):
        read_manifest(build)
    (build / "manifest.parquet").write_bytes(b"PAR1 nothing")
    error = run(build, "--out", tmp_path / "out").exception
    assert isinstance(error, Diffusion4kError)
    assert "\n" not in str(error)


def test_no_dataset_is_wrong_usage(tmp_path: Path) -> None:
    folder = fill(tmp_path / "plain", TRAIN)
    for arguments, reason in (
        ([tmp_path / "absent"], "no such folder"),
        ([folder, "--out", folder / "stats"], "lies in the dataset"),
        ([folder, "--card", "--license", "My Licence"], "allowed are the hub's names"),
    ):
        error = run(
            *arguments, *([] if "--out" in arguments else ["--out", tmp_path / "o"])
        ).exception
        assert isinstance(error, UsageError)
        assert reason in str(error)
    (folder / "metadata.jsonl").write_text("")
    for path in folder.glob("*.jpg"):
        path.unlink()
    with pytest.raises(UsageError, match="no pictures"):
        collect(folder)


def test_samples_are_chosen_by_seed_and_hardly_change(tmp_path: Path) -> None:
    folder = fill(tmp_path / "plain", [(90, 80)] * 30)
    photos = collect(folder)[0][0].photos
    chosen = [sample.photo for sample in choose(photos, 8, seed=0)]
    assert [s.photo for s in choose(photos[::-1], 8, seed=0)] == chosen
    assert {s.photo for s in choose(photos, 8, seed=1)} != set(chosen)
    assert len({s.photo for s in choose(photos[1:], 8, seed=0)} & set(chosen)) >= 7
    chosen[0].path.write_bytes(chosen[0].path.read_bytes()[:300])
    assert [s.photo for s in choose(photos, 7, seed=0)] == chosen[1:]


def test_of_large_samples_no_more_is_decoded_than_needed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    photos = collect(fill(tmp_path / "plain", [(2400, 1600)] * 3))[0][0].photos
    decoded = []
    open_rgb = gallery_module.open_rgb

    def spy(path: Path, at_least: tuple[int, int]) -> Image.Image:
        decoded.append(open_rgb(path, at_least))
        return decoded[-1]

    monkeypatch.setattr(gallery_module, "open_rgb", spy)
    assert [sample.image.size for sample in choose(photos, 2, seed=0)] == [(560, 373)] * 2
    assert [image.size for image in decoded] == [(600, 400)] * 2


def test_captions_stay_under_their_pictures(tmp_path: Path, monkeypatch) -> None:
    folder = fill(tmp_path / "plain", TRAIN)
    rows = [
        {"file_name": f"{n}.jpg", "text": text}
        for n, text in enumerate(("W" * 400, "many words " * 200, "雪" * 300, "$ a_b ^ {"))
    ]
    (folder / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    drawn = []
    monkeypatch.setattr(
        gallery_module, "write_figure", lambda figure, *_: drawn.append(figure) or tmp_path
    )
    draw_gallery(choose(collect(folder)[0][0].photos, 4, seed=0), tmp_path)
    (figure,) = drawn
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        boxes = [text.get_window_extent() for text in figure.texts]
    assert len(boxes) == 4
    for axes, box in zip(figure.axes, boxes, strict=True):
        picture = axes.get_window_extent()
        assert box.width <= picture.width * 1.0
        assert box.y1 <= picture.y0
        assert box.y0 >= 0


def test_card(described: tuple[Path, Path]) -> None:
    dataset = described[0]
    _, header, body = (dataset / "README.md").read_text().split("---\n", 2)
    content = yaml.safe_load(header)
    assert (content["license"], content["pretty_name"]) == ("cc0-1.0", "build")
    assert content["task_categories"] == ["text-to-image"]
    assert content["size_categories"] == ["n<1K"]
    files = content["configs"][0]["data_files"]
    assert [(f["split"], f["path"]) for f in files] == [("train", "train/**"), ("eval", "eval/**")]
    for file, split in zip(files, content["dataset_info"]["splits"], strict=True):
        pictures = list((dataset / file["split"]).glob("*.jpg"))
        assert split["num_examples"] == len(pictures)
        assert split["num_bytes"] == sum(path.stat().st_size for path in pictures)
    assert "| train | 4 | 160 | 150 | 165 | 172 |" in body
    assert verify_dataset(dataset, progress=False).counts == {}


def test_a_card_of_someone_elses_is_not_replaced(build: Path, tmp_path: Path) -> None:
    write_card(build)
    first = (build / "README.md").read_text()
    write_card(build, license_id="mit")
    ours = (build / "README.md").read_text()
    assert ours != first
    for text in ("By hand.", ours.replace("Pictures with", "My pictures with"), ours + "\n"):
        (build / "README.md").write_text(text)
        error = run(build, "--out", tmp_path / "out", "--card").exception
        assert isinstance(error, UsageError)
        assert "by hand" in str(error)
        assert (build / "README.md").read_text() == text
        assert not (tmp_path / "out").exists()
    write_card(build, license_id="mit", force=True)
    assert (build / "README.md").read_text() == ours


@pytest.mark.parametrize(
    ("count", "category"),
    [(1, "n<1K"), (999, "n<1K"), (1000, "1K<n<10K"), (12_015, "10K<n<100K"), (10**9, "n>1B")],
)
def test_size_categories(count: int, category: str) -> None:
    from diffusion4k.curation.stats.card import _size_category

    assert _size_category(count) == category
