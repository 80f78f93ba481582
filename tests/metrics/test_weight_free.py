"""The measures that need no weights: their columns, their numbers, ugly pictures."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from diffusion4k.data.folder import photo_folder
from diffusion4k.metrics import compression_ratio, glcm_properties, glcm_score, token_grid_ratio
from diffusion4k.metrics.detail import detail_distance
from diffusion4k.metrics.features import EfficientNetLite0
from diffusion4k.metrics.measure import Distance, Mean, Measure, Ratio
from diffusion4k.metrics.measuring import Measured, measure_all
from diffusion4k.metrics.picture import MeasuredImage
from diffusion4k.metrics.registry import make_measures
from diffusion4k.metrics.settings import MeasureSettings
from diffusion4k.metrics.store import MeasureStore
from tests.metrics.kinds import without_weights

pytestmark = pytest.mark.filterwarnings("ignore::diffusion4k.metrics.frechet.FewSamplesWarning")


@pytest.fixture(scope="module")
def measures() -> list[Measure]:
    made, missing = make_measures(MeasureSettings(patches_per_image=2), wanted=without_weights)
    assert not missing
    return made


@pytest.fixture(scope="module")
def crop() -> Image.Image:
    with Image.open(photo_folder("pocket") / "stream.jpg") as image:
        return image.convert("RGB").crop((800, 600, 1200, 900))


def measured(paths: list[Path], measures: list[Measure], store: Path) -> list[Measured]:
    return list(measure_all(map(MeasuredImage, paths), measures, MeasureStore(store)))


def test_every_column_has_its_findings(
    measures: list[Measure], crop: Image.Image, tmp_path: Path
) -> None:
    crop.save(tmp_path / "a.jpg", quality=95)
    crop.rotate(180).save(tmp_path / "b.png")
    found = measured([tmp_path / "a.jpg", tmp_path / "b.png"], measures, tmp_path / "kept")
    columns = [column for measure in measures for column in measure.columns]
    assert len({column.name for column in columns}) == len(columns)
    assert len({measure.name for measure in measures}) == len(measures) == 6
    for column in columns:
        if isinstance(column, Mean):
            assert np.isfinite(found[0].numbers[column.name])
        elif isinstance(column, Ratio):
            assert found[1].numbers[column.numerator] > found[1].numbers[column.denominator]
        else:
            assert isinstance(column, Distance)
            sides = [[each.features(column.features)] * 2 for each in found]
            assert column.distance(sides[0], sides[0]) == pytest.approx(0, abs=1e-6)
            assert column.distance(sides[0], sides[1]) > 0, column.name


def test_numbers_are_those_of_the_functions(
    measures: list[Measure], crop: Image.Image, tmp_path: Path
) -> None:
    path = tmp_path / "a.jpg"
    crop.save(path, quality=95)
    (found,) = measured([path], measures, tmp_path / "kept")
    numbers = found.numbers
    assert numbers["glcm_score"] == pytest.approx(glcm_score(path))
    assert numbers["glcm_contrast"] == pytest.approx(glcm_properties(path)["contrast"])
    assert numbers["detail_distance"] == pytest.approx(detail_distance(path))
    assert numbers["token_grid_ratio"] == pytest.approx(token_grid_ratio(path))
    assert (numbers["width"], numbers["height"]) == (400, 300)
    assert numbers["raw_bytes"] / numbers["jpeg_bytes"] == compression_ratio([path])
    extractor = EfficientNetLite0()
    np.testing.assert_allclose(found.features("effnet"), extractor([path]), atol=1e-4)
    patches = extractor.patches(path, 224, 2)
    np.testing.assert_allclose(found.features("effnet_patch"), patches, atol=1e-4)


def test_ugly_pictures(measures: list[Measure], crop: Image.Image, tmp_path: Path) -> None:
    deep = np.asarray(crop.convert("L")).astype(np.uint16) * 257
    good = {
        "grey.png": crop.convert("L"),
        "alpha.png": crop.convert("RGBA"),
        "deep.png": Image.fromarray(deep),
        "flat.png": Image.new("RGB", (400, 300), "white"),
        "odd.png": crop.crop((0, 0, 225, 229)),
    }
    bad = {
        "pixel.png": Image.new("RGB", (1, 1)),
        "narrow.png": crop.crop((0, 0, 400, 70)),
        "small.png": crop.crop((0, 0, 200, 200)),
    }
    for name, image in (good | bad).items():
        image.save(tmp_path / name)
    (tmp_path / "broken.png").write_bytes(b"no picture")
    (tmp_path / "empty.png").touch()
    names = [*good, *bad, "broken.png", "empty.png"]
    found = measured([tmp_path / name for name in names], measures, tmp_path / "kept")
    problems = {each.path.name: each.problem for each in found if each.problem}
    assert list(problems) == [*bad, "broken.png", "empty.png"]
    assert all("\n" not in problem for problem in problems.values())
    assert "1x1 is too small" in problems["pixel.png"] and "224x224" in problems["small.png"]
    values = {each.path.name: each.numbers for each in found if not each.problem}
    for numbers in values.values():
        assert all(np.isfinite(value) for value in numbers.values())
    for name in ("glcm_score", "detail_distance", "band_1"):
        assert values["deep.png"][name] == pytest.approx(values["grey.png"][name], rel=0.02)
