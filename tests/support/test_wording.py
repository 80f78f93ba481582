"""Numbers of things, singular and plural."""

import re
from pathlib import Path

import diffusion4k
from diffusion4k.support.wording import counted

THINGS = (
    *("photographs", "pictures", "images", "problems", "captions", "candidates", "requests"),
    *("pairs", "samples", "ratings", "JPEG files"),
)
NEVER_ONE = (
    *("benchmark/human_agreement.py", "benchmark/summary.py", "demo/run.py", "sampling/batch.py"),
    *("curation/verify/cross_picture.py", "planning/first_look.py", "metrics/measure.py"),
    *("curation/inspection/inspection.py", "benchmark/ratings.py"),
)
BARE = re.compile(r"\{(?!counted)[^{}]*\} (?:more )?(?:" + "|".join(THINGS) + r")\b")


def test_one_and_many() -> None:
    assert [counted(n, "photograph") for n in (0, 1, 2)] == [
        "0 photographs",
        "1 photograph",
        "2 photographs",
    ]
    assert counted(1, "of them is", "of them are") == "1 of them is"
    assert counted(2, "of them is", "of them are") == "2 of them are"


def test_whatever_may_be_one_is_counted_by_it() -> None:
    folder = Path(diffusion4k.__file__).parent
    for path in sorted(folder.rglob("*.py")):
        name = path.relative_to(folder).as_posix()
        if name not in NEVER_ONE:
            assert BARE.findall(path.read_text(encoding="utf-8")) == [], name
