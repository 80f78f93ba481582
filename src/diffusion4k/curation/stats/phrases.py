"""What captions speak of: how often words, and phrases of two and three words, come up.

A phrase is a run of words with no stop word among them and no punctuation between them: of "a red
train crosses a stone viaduct" the phrases of two are "red train", "train crosses", "stone viaduct".
"""

import re
from collections import Counter
from collections.abc import Iterable

__all__ = ["LONGEST", "STOP_WORDS", "count_phrases"]

LONGEST = 3

_WORDS = """
a about above across after against all along also am among amid an and another any are around as
at atop away back be because been before behind being below beneath beside between beyond both
but by can could did do does down during each either every few for from further had has have
having he her here hers him his how i if in including inside into is it its itself just like
many may more most much near next no nor not of off on once one only onto or other others our
out outside over own per several she should so some such than that the their theirs them
themselves then there these they this those through throughout to together too toward towards
two under until up upon us very via was we were what when where which while who whom whose why
will with within without would you your
"""
STOP_WORDS = frozenset(_WORDS.split())

_RUN = re.compile(r"[^\W_]+(?:['’-][^\W_]+)*(?:\s+[^\W_]+(?:['’-][^\W_]+)*)*")


def count_phrases(captions: Iterable[str]) -> dict[int, Counter[str]]:
    """Counts of phrases in lower case, by their number of words, 1 to `LONGEST`."""
    counts: dict[int, Counter[str]] = {n: Counter() for n in range(1, LONGEST + 1)}
    for caption in captions:
        for run in _RUN.finditer(caption.lower()):
            for words in _without_stop_words(run[0].split()):
                for n, counted in counts.items():
                    counted.update(" ".join(words[i : i + n]) for i in range(len(words) - n + 1))
    return counts


def _without_stop_words(words: list[str]) -> Iterable[list[str]]:
    """The stretches between stop words; numbers alone say nothing either."""
    stretch: list[str] = []
    for word in words:
        if word in STOP_WORDS or word.isdigit():
            if stretch:
                yield stretch
            stretch = []
        else:
            stretch.append(word)
    if stretch:
        yield stretch
