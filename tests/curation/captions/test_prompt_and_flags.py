"""The prompt of Table 11, and answers that are no captions."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from diffusion4k.curation.captions.settings import PROMPT
from diffusion4k.endpoint.refusals import flag_of

# The row as the paper's supplement prints it; the outer double quotes are the table's.
TABLE_11 = (
    "Image Caption	{ “text” : “Directly describe with brevity and as brief as possible the scene "
    "or characters without any introductory phrase like ‘This image shows’, ‘In the scene’, ‘This "
    "image depicts’ or similar phrases. Just start describing the scene please.” }"
)


def test_the_prompt_is_the_printed_one() -> None:
    printed = TABLE_11.split("\t")[1].replace("“", '"').replace("”", '"')
    assert json.loads(printed) == {"text": PROMPT}


@pytest.mark.parametrize(
    "text",
    [
        "I'm sorry, but I can't assist with that.",
        "I’m sorry, I can’t help with identifying people in this photo.",
        "Sorry, I cannot describe this image.",
        "I am unable to view images.",
        "I cannot see the picture.",
        "Unfortunately, I can't process this request.",
        "As an AI language model, I have no eyes.",
        "My apologies, but no.",
        "I apologize, but I won't describe this.",
    ],
)
def test_refusals(text: str) -> None:
    assert flag_of(text, None, "stop", 80) == "refused"


# Captions that the paper shows (Fig. 15 of the supplement), and words that refusals use, too.
CAPTIONS = [
    "A red train crosses a stone viaduct high above a winding river, surrounded by dense green "
    "forests and rocky cliffs.",
    "Two blue jays with striking blue and black feathers perch on a bare, twisted branch, one in "
    "an upright position while the other leans forward on the branch, against a light background.",
    "A sorry-looking dog in the rain.",
    "Sorrel horse in a meadow.",
    "A sign that reads “I can't swim” beside a pool.",
    "Ice on a lake.",
    "I-beam of steel over a river.",
    "夕暮れの湖。",
]


@pytest.mark.parametrize("text", CAPTIONS)
def test_captions(text: str) -> None:
    assert flag_of(text, None, "stop", 80) is None
    assert flag_of(text, None, None, 80) is None
    assert flag_of(text, "No.", "stop", 80) == "refused"
    assert flag_of(text, None, "content_filter", 80) == "refused"
    assert flag_of(text, None, "length", 80) == "long"


@given(st.text(alphabet=st.characters(categories=["P", "Z", "S", "Cc"])))
def test_without_a_letter_it_is_empty(text: str) -> None:
    assert flag_of(text, None, "stop", 80) == "empty"


@given(st.integers(1, 200), st.integers(1, 200))
def test_words_are_counted(words: int, most: int) -> None:
    assert flag_of("lake " * words, None, "stop", most) == ("long" if words > most else None)
