"""A stand-in judge: it knows which model it prefers, how often, and which position it favours.

No model is behind it. The pictures are flat: a red one is of the model that it prefers with the
given probabilities. It tells the one sent first by so many points more often than the one sent
second. Draws are from a seed, or evenly spread so that few pairs are enough.
"""

import hashlib
import io
import random
import re
from dataclasses import dataclass, field
from typing import Any

from PIL import Image

from diffusion4k.preference.judge.prompt import SYSTEM, TEMPLATE
from diffusion4k.preference.study.questions import PAPER
from tests.endpoint.server import StandIn, pictures_of

GOOD = (
    "1. Visual Aesthetics: {0}. The reason is the light.\n"
    "2. Prompt Adherence: {1}. The reason is that it shows what is asked for.\n"
    "3. Fine Details: {2}. The reason is the clarity, sharpness, and texture."
)
FORMS = (
    GOOD,
    GOOD.replace("1. ", "**1. ")
    .replace("2. ", "**2. ")
    .replace("3. ", "**3. ")
    .replace(":", ":**"),
    GOOD.replace("{0}", "⟨{0}⟩").replace("{1}", '"{1}"').replace("{2}", "<{2}>"),
    GOOD.replace("\n", " ").upper().replace("{0}", "{0}"),
    GOOD.replace(": ", ":\n\n  ")
    .replace("1. ", "### ")
    .replace("2. ", "### ")
    .replace("3. ", "- "),
)
"""Harmless variation: each says the same."""
MALFORMED = {
    "tie": GOOD.replace("{1}", "It is a tie"),
    "both": GOOD.replace("{1}", "Both images are better"),
    "neither": GOOD.replace("{1}", "Neither image is better"),
    "either": GOOD.replace("{1}", "the first image is better or the second image is better"),
    "missing": "\n".join(GOOD.splitlines()[::2]),
    "contradiction": GOOD.replace(
        "{2}. The", "the first image is better. The second image is better. The"
    ),
    "twice": GOOD
    + "\nFine Details: the first image is better.\nFine Details: the second image is better.",
    "letters": GOOD.replace("{0}", "Image A is better").replace("{1}", "B"),
    "negation": GOOD.replace("{0}", "the first image is not better"),
    "json": '{{"visual_aesthetics": 1, "prompt_adherence": 2, "fine_details": "second"}}',
    "template": TEMPLATE[TEMPLATE.rindex("1. Visual") :],
    "prose": "I like the first image best, though the second one is sharper.",
    "empty": " ",
    "refused": "I'm sorry, but I can't compare these images.",
}


@dataclass
class Judge(StandIn):
    """`flags` are of MALFORMED."""

    preference: dict[str, float] = field(default_factory=dict)
    """Of the red model, by question; one half where not said."""
    bias: float = 20.0
    """Points by which the red model is chosen more often when it is first."""
    even: bool = True
    forms: int = len(FORMS)

    def _completion(self, body: dict[str, Any], picture: str, flag: str | None) -> dict[str, Any]:
        system, user = body["messages"]
        assert system == {"role": "system", "content": SYSTEM}
        text = user["content"][0]["text"]
        found = re.fullmatch(re.escape(TEMPLATE).replace("<prompt>", "<(.*?)>"), text, re.DOTALL)
        assert found, text
        prompt = found[1]
        red_first = [is_red(file) for file in pictures_of(body)]
        assert sum(red_first) == 1
        said = [self._verdict(prompt, red_first[0], question.name) for question in PAPER]
        digit = int(picture[:8], 16)
        form = MALFORMED[flag] if flag else FORMS[digit % self.forms]
        made = super()._completion(body, picture, None)
        made["choices"][0]["message"]["content"] = form.format(*said)
        return made

    def _verdict(self, prompt: str, red_first: bool, question: str) -> str:
        chance = self.preference.get(question, 0.5)
        chance += (0.5 if red_first else -0.5) * self.bias / 100
        if self.even:
            number = int(re.findall(r"\d+", prompt)[-1])
            # The golden ratio's multiples lie evenly in [0, 1); each order and question its own.
            offset = random.Random(f"{question}{red_first}{self.seed}").random()
            draw = (number * 0.6180339887498949 + offset) % 1
        else:
            draw = random.Random(f"{self.seed}{prompt}{question}{red_first}").random()
        return f"the {'first' if (draw < chance) == red_first else 'second'} image is better"


def is_red(file: bytes) -> bool:
    """Whether a picture is of the preferred model."""
    red, _, blue = Image.open(io.BytesIO(file)).convert("RGB").resize((1, 1)).getpixel((0, 0))
    return red > blue


def colour(number: int, red: bool) -> tuple[int, int, int]:
    """A colour for each pair, so that no two pictures are the same as a JPEG."""
    digest = hashlib.sha256(f"{number}".encode()).digest()
    return (200 + digest[0] % 40 if red else 30, digest[1], 30 if red else 200 + digest[2] % 40)
