"""The paper's three questions (supplement, Tab. 11, "Preference Study"), word for word."""

from typing import Annotated

from pydantic import StrictBool

from diffusion4k.config.types import Section, Text, matching

__all__ = ["PAPER", "Question"]


class Question(Section):
    """A question about a pair of images."""

    name: Annotated[str, matching(r"[a-z0-9_]{1,64}", "1 to 64 small letters, digits and `_`")]
    """What it is called in exports."""
    title: Text
    text: Text
    sharp: StrictBool = True
    """Whether a blurred copy must lose: then attention checks are judged by this question."""


PAPER = (
    Question(
        name="visual_aesthetics",
        title="Visual Aesthetics",
        text=(
            "Given the prompt, which image is of higher-quality and aesthetically more pleasing?"
        ),
    ),
    Question(
        name="prompt_adherence",
        title="Prompt Adherence",
        text=(
            "Which image looks more representative to the text shown above and faithfully "
            "follows it?"
        ),
        sharp=False,
    ),
    Question(
        name="fine_details",
        title="Fine Details",
        text=(
            "Which image more accurately represents the fine visual details? Focus on clarity, "
            "sharpness, and texture. Assess the fidelity of fine elements such as edges, patterns, "
            "and nuances in color. The more precise representation of these details is preferred! "
            "Ignore other aspects."
        ),
    ),
)
