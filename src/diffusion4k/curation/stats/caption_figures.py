"""The word cloud of the captions (supplement, Fig. 14), and their phrases as bars."""

import random
from collections import Counter
from pathlib import Path

from diffusion4k.curation.stats.phrases import LONGEST
from diffusion4k.errors import UsageError
from diffusion4k.support.figures import PARTS, new_figure, tidy, whole_numbers, write_figure

__all__ = ["SHOWN", "draw_cloud", "draw_phrases"]

SHOWN = 15
"""Phrases of each length in the figure and the page."""
_WORDS = 250
_WIDTH, _HEIGHT = 1600, 800


def draw_cloud(counts: Counter[str], folder: Path, seed: int) -> Path | None:
    """Write `words.png` and `words.pdf`; the same words and seed give the same cloud.

    None if there are no words.

    Raises:
        UsageError: the package wordcloud is missing.
    """
    if not counts:
        return None
    try:
        from wordcloud import WordCloud
    except ImportError:
        raise UsageError(
            "the word cloud needs the package wordcloud: pip install wordcloud"
        ) from None

    def colour(*_: object, random_state: random.Random, **__: object) -> str:
        return random_state.choice(PARTS)

    cloud = WordCloud(
        width=_WIDTH,
        height=_HEIGHT,
        background_color="white",
        max_words=_WORDS,
        max_font_size=_HEIGHT // 4,
        random_state=seed,
        color_func=colour,
        prefer_horizontal=0.9,
        relative_scaling=0.5,
    )
    # Equal counts stand in the order of the alphabet, not in that of the pictures.
    words = dict(sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:_WORDS])
    with new_figure(10, 10 * _HEIGHT / _WIDTH) as figure:
        axes = figure.add_axes((0, 0, 1, 1))
        axes.imshow(cloud.generate_from_frequencies(words).to_array(), aspect="auto")
        axes.set_axis_off()
        figure.set_layout_engine("none")
        return write_figure(figure, folder, "words")


def draw_phrases(counts: dict[int, Counter[str]], folder: Path) -> Path | None:
    """Write `phrases.png` and `phrases.pdf`: the most frequent phrases of each length."""
    if not counts[1]:
        return None
    with new_figure(10, 3.6) as figure:
        for n, axes in zip(counts, figure.subplots(1, LONGEST), strict=True):
            common = most_common(counts[n], SHOWN)
            names = [phrase if len(phrase) < 34 else phrase[:32] + "…" for phrase, _ in common]
            axes.barh(range(len(common)), [count for _, count in common], color=PARTS[0])
            axes.set_yticks(range(len(common)), names, fontsize=7.5)
            axes.invert_yaxis()
            whole_numbers(axes.xaxis)
            axes.set_title(f"{n} words" if n > 1 else "words")
            axes.set_xlabel("times")
            tidy(axes, "x")
        return write_figure(figure, folder, "phrases")


def most_common(counts: Counter[str], number: int) -> list[tuple[str, int]]:
    """The most frequent phrases; equally frequent ones in the order of the alphabet."""
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:number]
