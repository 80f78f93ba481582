"""Reading a judge's answer: harmless variation is passed over, nothing is guessed."""

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from diffusion4k.preference.judge.prompt import SYSTEM, TEMPLATE, judge_text
from diffusion4k.preference.judge.verdicts import Unparsable, read_verdicts
from diffusion4k.preference.study.questions import PAPER
from tests.preference.judge.server import FORMS, GOOD, MALFORMED

NAMES = [question.name for question in PAPER]
FIRST, SECOND = "the first image is better", "the second image is better"
WORDINGS = (
    *("the {} image is better", "The {} image is better", "{} image", "the {} image", "{}"),
    *(
        "the {} image is slightly better",
        "The {} picture is clearly better",
        "THE {} IMAGE IS BETTER",
    ),
    "the {} image is better than the other image",
)


@pytest.mark.parametrize("form", FORMS)
def test_harmless_forms(form: str) -> None:
    found = read_verdicts(form.format(FIRST, SECOND, SECOND), NAMES)
    assert list(found.values()) == ["first", "second", "second"]


@given(
    form=st.sampled_from(FORMS),
    sides=st.lists(st.sampled_from(["first", "second"]), min_size=3, max_size=3),
    wording=st.sampled_from(WORDINGS),
    frame=st.sampled_from(["{}", "**{}**", "⟨{}⟩", "<{}>", '"{}"', "[{}]", "`{}`", "*{}*", "“{}”"]),
    case=st.sampled_from([str, str.upper, str.capitalize]),
    before=st.sampled_from(["", "Here is my evaluation:\n\n", "Sure!\n"]),
    after=st.sampled_from(["", "\n\nOverall, both images have their merits."]),
)
def test_any_harmless_variation(form, sides, wording, frame, case, before, after) -> None:
    said = [frame.format(case(wording.format(side))) for side in sides]
    assert list(read_verdicts(before + form.format(*said) + after, NAMES).values()) == sides


@pytest.mark.parametrize("form", MALFORMED.values(), ids=MALFORMED)
def test_malformed_forms(form: str) -> None:
    with pytest.raises(Unparsable) as why:
        read_verdicts(form.format(FIRST, SECOND, SECOND), NAMES)
    assert len(str(why.value)) < 60


@pytest.mark.parametrize(
    "verdict",
    [
        *("the first image is worse", "the first image is no better", "the first or the second"),
        *(
            "the images are equal",
            "the third image is better",
            "better",
            "image is better",
            "1 or 2",
        ),
        *("the first image is not as good", "not the first image", "the first image is better?"),
        *("the first image may be better", "the second image is better than the second image"),
        "the first image is better in colour while the second image is better in shape",
        "the first image is better, but overall the second looks better",
        "the first second image is better",
        "",
    ],
)
def test_what_is_not_clear_is_refused(verdict: str) -> None:
    for place in range(3):
        said: list[str] = [FIRST, FIRST, FIRST]
        said[place] = verdict
        with pytest.raises(Unparsable, match=NAMES[place]):
            read_verdicts(GOOD.format(*said), NAMES)


def test_a_reason_may_speak_of_everything() -> None:
    reason = "The reason is that the second image has fine details: but noise, and is not better."
    text = GOOD.replace("The reason is the light.", reason).format(FIRST, FIRST, FIRST)
    assert set(read_verdicts(text, NAMES).values()) == {"first"}


def test_only_what_is_asked_must_be_there() -> None:
    text = "3. Fine Details: the second image is better. The reason is texture."
    assert read_verdicts(text, ["fine_details"]) == {"fine_details": "second"}
    with pytest.raises(Unparsable, match="no answer on visual_aesthetics"):
        read_verdicts(text, NAMES)


@pytest.mark.parametrize(
    ("more", "why"),
    [
        ({"finish": "length"}, "cut off"),
        ({"finish": "content_filter"}, "refused"),
        ({"refusal": "no"}, "refused"),
    ],
)
def test_what_the_endpoint_says(more: dict[str, str], why: str) -> None:
    with pytest.raises(Unparsable, match=why):
        read_verdicts(GOOD.format(FIRST, FIRST, FIRST), NAMES, **more)


@given(st.text(max_size=300))
def test_any_text_is_read_or_refused(text: str) -> None:
    for written in (text, GOOD.format(text, FIRST, SECOND)):
        try:
            found = read_verdicts(written, NAMES)
        except Unparsable:
            continue
        assert set(found) == set(NAMES)


def test_the_prompt_is_the_papers() -> None:
    """Word for word what was read from print, but for its tags and the names of its brackets."""
    printed = Path(__file__).with_name("table11.txt").read_text(encoding="utf-8")
    printed = re.sub(r"</?(?:p|ol)\b[^>]*>", " ", printed)
    printed = printed.replace(r"\langle", "<").replace(r"\rangle", ">")
    system, text = re.findall("“([^”]+)”", printed)[1::2]
    assert " ".join(system.split()) == SYSTEM
    assert " ".join(TEMPLATE.split()) == " ".join(text.split())
    asked = judge_text("a lake <prompt>")
    assert asked.startswith("The caption for the two images is: <a lake <prompt>>. Please answer")
