"""Names from anywhere stay inside the folder and never meet."""

import posixpath
from pathlib import PurePosixPath, PureWindowsPath

from hypothesis import given
from hypothesis import strategies as st

from diffusion4k.curation.names import UniqueNames, safe_name

NAMES = st.text(st.characters(), max_size=300) | st.lists(
    st.sampled_from(["..", ".", "", "a", "CON", "nul.jpg", "x" * 300, "é", "C:", "~", "b.jpg"]),
    max_size=8,
).map("/".join)


@given(NAMES)
def test_a_safe_name_stays_inside_on_every_system(name: str) -> None:
    safe = safe_name(name)
    assert posixpath.normpath(posixpath.join("/data", safe)) == f"/data/{safe}"
    for path in (PurePosixPath(safe), PureWindowsPath(safe)):
        assert not path.is_absolute() and not path.drive
        assert not PureWindowsPath(safe).is_reserved() and ".." not in path.parts
    assert all(0 < len(part.encode()) <= 255 for part in safe.split("/"))
    assert not any(part.startswith(".") for part in safe.split("/"))


@given(NAMES)
def test_safe_names_stay_as_they_are(name: str) -> None:
    assert safe_name(safe_name(name)) == safe_name(name)


def test_usual_names_stay_as_they_are() -> None:
    for name in ("lake.jpg", "cities/tokyo at night.jpg", "übung/ä.png", "a-b_c (1).jpeg"):
        assert safe_name(name) == name


@given(st.lists(NAMES, max_size=20))
def test_no_two_are_alike_even_without_regard_to_case(names: list[str]) -> None:
    unique = UniqueNames()
    given_out = [unique.name(name, "the same source") for name in names]
    assert len({name.casefold() for name in given_out}) == len(names)


def test_the_second_of_a_name_is_told_by_its_source() -> None:
    one, other = UniqueNames(), UniqueNames()
    assert one.name("a.jpg", "x/a.jpg") == "a.jpg"
    second = one.name("A.jpg", "y/a.jpg")
    other.name("a.jpg", "z")
    assert second == other.name("A.jpg", "y/a.jpg") != one.name("a.jpg", "z/a.jpg")
    assert second.startswith("A-") and second.endswith(".jpg")
