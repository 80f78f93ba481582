"""Ratings from CSV files in every form, and each way such a file can be wrong."""

from pathlib import Path

import numpy as np
import pytest

from diffusion4k.benchmark.ratings import read_ratings
from diffusion4k.errors import Diffusion4kError, UsageError


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "ratings.csv"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize(
    "text",
    [
        "image,rater,rating\na.jpg,anna,3\nb.jpg,anna,5\na.jpg,ben,4\n",
        "study,image,model,participant,rating,at\ns,a.jpg,m,anna,3,x\ns,b.jpg,m,anna,5,x\n"
        "s,a.jpg,m,ben,4,x\n",
        "image,anna,ben\na.jpg,3,4\nb.jpg,5,\n",
        "\ufeffImage;Anna;Ben\r\na.jpg; 3;4\r\n\r\nb.jpg;5.0;\r\n",
        "rating\timage\trater\n3\ta.jpg\tanna\n5\tb.jpg\tanna\n4\ta.jpg\tben\n\tb.jpg\tben\n",
    ],
)
def test_every_form_says_the_same(tmp_path: Path, text: str) -> None:
    ratings = read_ratings(written(tmp_path, text))
    assert [*ratings.images] == ["a.jpg", "b.jpg"]
    assert [rater.lower() for rater in ratings.raters] == ["anna", "ben"]
    np.testing.assert_array_equal(ratings.table, [[3, 5], [4, np.nan]])
    np.testing.assert_array_equal(ratings.mean(), [3.5, 5])


def test_one_rater_without_a_name(tmp_path: Path) -> None:
    ratings = read_ratings(written(tmp_path, 'image,rating,note\n"a, b.jpg",3,"x, y"\nc.jpg,4,\n'))
    assert ratings.images == ("a, b.jpg", "c.jpg") and ratings.table.tolist() == [[3, 4]]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "found the columns none"),
        ("file,rater,rating\n", "found the columns file, rater, rating"),
        ("image\na.jpg\n", "only a column image"),
        ("image,rater,rating\n", "no rating in it"),
        ("image,anna,anna\na.jpg,3,4\n", "the column anna occurs twice"),
        ("image,rater,rating\na.jpg,anna,good\n", ":2: rating 'good' is not a number"),
        ("image,rater,rating\na.jpg,anna,nan\n", ":2: rating 'nan' is not a number"),
        ("image,rater,rating\na.jpg,anna,3\nb.jpg,anna,11\n", ":3: rating 11 is outside the scale"),
        ("image,rater,rating\na.jpg,anna,0\n", ":2: rating 0 is outside the scale of 1 to 10"),
        (
            "image,rater,rating\na.jpg,anna,3\na.jpg,anna,3\n",
            ":3: a.jpg is rated by anna in line 2",
        ),
        ("image,anna\na.jpg,3\na.jpg,4\n", ":3: a.jpg is rated by anna in line 2"),
        ("image,rater,rating\na.jpg,,3\n", ":2: no rater"),
        ("image,rater,rating\n,anna,3\n", ":2: no image"),
        ("image,rater,rating\na.jpg,anna\n", ":2: 2 cells, but 3 columns"),
    ],
)
def test_what_is_wrong_is_named_in_one_line(tmp_path: Path, text: str, message: str) -> None:
    path = written(tmp_path, text)
    with pytest.raises(Diffusion4kError) as raised:
        read_ratings(path)
    assert message in str(raised.value) and str(path) in str(raised.value)
    assert "\n" not in str(raised.value)


def test_files_that_are_no_csv(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="No such file"):
        read_ratings(tmp_path / "none.csv")
    (tmp_path / "binary.csv").write_bytes(b"image,\xff\xfe")
    with pytest.raises(Diffusion4kError, match="not UTF-8"):
        read_ratings(tmp_path / "binary.csv")


def test_another_scale(tmp_path: Path) -> None:
    path = written(tmp_path, "image,rater,rating\na.jpg,anna,97.5\n")
    assert read_ratings(path, (0, 100)).table.tolist() == [[97.5]]
    with pytest.raises(UsageError, match="give the lower end first"):
        read_ratings(path, (10, 1))


def test_what_is_incomplete_is_said(tmp_path: Path) -> None:
    text = "image,anna,ben,carl\na.jpg,3,5,\nb.jpg,4,5,\nc.jpg,5,5,\nother.jpg,1,2,3\n"
    found = read_ratings(written(tmp_path, text)).of_images(["a.jpg", "b.jpg", "c.jpg", "d.jpg"])
    assert found.images == ("a.jpg", "b.jpg", "c.jpg") and found.table.shape == (3, 3)
    told = "\n".join(found.warnings)
    assert "other.jpg: rated, but not among the images" in told
    assert "d.jpg: not rated" in told
    assert "3 of 9 ratings are missing" in told
    assert "rater ben: gave every image 5" in told


def test_a_rater_of_few_images_is_said(tmp_path: Path) -> None:
    text = "image,anna,ben\na.jpg,3,\nb.jpg,4,2\nc.jpg,5,\n"
    found = read_ratings(written(tmp_path, text)).of_images(["a.jpg", "b.jpg", "c.jpg"])
    assert "rater ben: rated only 1 of these images" in found.warnings
