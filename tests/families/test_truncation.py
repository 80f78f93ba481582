"""What an encoder does not see of a prompt is said once, in one line."""

import logging

import pytest
import torch

from diffusion4k.families.sd3 import StableDiffusion3
from diffusion4k.families.truncation import say_truncation_once

LONG = "a mountain lake at dawn, seen from far above " * 4


def test_both_encoders_and_all_images_give_one_line(tiny_model, capfd) -> None:
    family = StableDiffusion3()
    for _ in range(2):
        encoders = family.load_text_encoders(tiny_model, dtype=torch.float32)
        family.encode_text(encoders, [LONG])
    said = [line for line in capfd.readouterr().err.splitlines() if "from far" in line]
    assert len(said) == 1, said
    assert said[0].startswith("CLIP reads 77 tokens of a prompt, and not its end: ")
    assert len(said[0]) < 150
    family.encode_text(encoders, [f"another: {LONG}"])
    assert "CLIP reads 77 tokens" in capfd.readouterr().err


@pytest.mark.parametrize("text", ["something else entirely", "The following part of your input"])
def test_other_warnings_pass(text: str, capfd) -> None:
    say_truncation_once()
    say_truncation_once()
    handler = logging.getLogger("diffusers").handlers[0]
    record = logging.LogRecord("diffusers.any", logging.WARNING, "", 0, text, (), None)
    assert handler.filter(record)
    assert capfd.readouterr().err == ""
