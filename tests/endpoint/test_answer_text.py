"""What servers leave in answers by mistake, and what is no such thing."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from diffusion4k.curation.verify.captions import caption_problems, corrected
from diffusion4k.endpoint.answer_text import clean_text, is_clean
from diffusion4k.endpoint.client import parse_answer
from diffusion4k.endpoint.refusals import flag_of

SQUARE = "A red square stands here."


@pytest.mark.parametrize(
    "text",
    [
        f"<think>\nThe user wants a caption. I see squares.\n</think>\n\n{SQUARE}",
        f"The user wants a caption.\n</think>\n{SQUARE}",
        f"<think>a</think><think>b</think>{SQUARE}",
        f"<thinking>a</thinking> {SQUARE}",
        f"<seed:think>a</seed:think>{SQUARE}",
        f"<|channel|>analysis<|message|>Hm.<|end|><|start|>assistant<|channel|>final<|message|>{SQUARE}",
        f"<|im_start|>assistant\n{SQUARE}<|im_end|>",
        f"<s>[INST]{SQUARE}[/INST]</s>",
        f"{SQUARE}<｜end▁of▁sentence｜>",
        f"{SQUARE}<end_of_turn>",
        "A red\0 square\x1b stands\x9f here.",
        "\ud83d A red square\udc00 stands here.",
        f"  {SQUARE}\r\n",
    ],
)
def test_the_answer_alone_is_left(text: str) -> None:
    assert clean_text(text) == SQUARE
    answer = parse_answer({"choices": [{"message": {"content": text}}]}, None)
    assert answer and answer.text == SQUARE
    if text.strip() != SQUARE:
        assert [kind for kind, _ in caption_problems(text)] == ["caption-characters"]
        assert corrected(text) == SQUARE


@pytest.mark.parametrize("text", ["<think>I see squares.", "squares</think> \n", "<|im_end|>"])
def test_thoughts_alone_are_no_answer(text: str) -> None:
    assert clean_text(text) == ""
    assert flag_of(clean_text(text), None, "stop", 200) == "empty"


@pytest.mark.parametrize(
    "text",
    [
        "A sign that reads <think different>.",
        "I think of a lake; a < b | c > d.",
        "Zwei Zeilen\nmit Umlauten: \u00fc, \U0001f600, \u4e2d.",
        "The letters [A] and <B>.",
    ],
)
def test_other_texts_are_left_as_they_are(text: str) -> None:
    assert clean_text(text) == text
    assert is_clean(text)


@given(st.text(st.characters(exclude_categories=())))
def test_whatever_is_answered_can_be_stored(text: str) -> None:
    clean = clean_text(text)
    clean.encode()
    assert "\0" not in clean
