"""Phrases are counted as a plain loop over split text counts them."""

import re
from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from diffusion4k.curation.stats.phrases import STOP_WORDS, count_phrases


def by_brute_force(captions: list[str], n: int) -> Counter[str]:
    """Every window of n tokens that are words; punctuation is a token of its own."""
    counted: Counter[str] = Counter()
    for caption in captions:
        tokens = re.sub(r"([.,;:!?()])", r" \1 ", caption.lower()).split()
        for start in range(len(tokens) - n + 1):
            window = tokens[start : start + n]
            if all(w.isalpha() and w not in STOP_WORDS for w in window):
                counted[" ".join(window)] += 1
    return counted


WORDS = st.sampled_from(
    ["red", "Train", "river", "a", "the", "of", "12", "snow", ",", ".", "zürich"]
)


@given(st.lists(st.lists(WORDS, max_size=12).map(" ".join), max_size=5))
def test_as_by_brute_force(captions: list[str]) -> None:
    counts = count_phrases(captions)
    assert counts == {n: by_brute_force(captions, n) for n in (1, 2, 3)}


def test_words_with_hyphens_and_apostrophes_are_one() -> None:
    counts = count_phrases(["Snow-capped peaks; the city’s half_timbered 1990s houses"])
    assert counts[2] == {
        "snow-capped peaks": 1,
        "timbered 1990s": 1,
        "1990s houses": 1,
        "city’s half": 1,
    }
