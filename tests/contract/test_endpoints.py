"""Endpoints that close, lie or never end, as the two verbs meet them that pay for answers."""

import json
import time
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

from diffusion4k.preference.study.questions import PAPER
from tests.contract.endpoint import ASKING, Answer, body, choice, serving
from tests.contract.world import Run, arguments, contents, errors_of, unharmed

COMMANDS = (
    f"dataset caption PICTURES --overwrite {ASKING}",
    f"judge PICTURES MORE --out out {ASKING}",
)


def closes(handler: BaseHTTPRequestHandler) -> None:
    """Not a word."""


def no_http(handler: BaseHTTPRequestHandler) -> None:
    """Another protocol."""
    handler.wfile.write(b"SSH-2.0-OpenSSH_9.2\r\n")


def drips(handler: BaseHTTPRequestHandler) -> None:
    """A blank every now and then, for ever."""
    handler.send_response(200)
    handler.send_header("Content-Type", "application/json")
    handler.end_headers()
    while True:
        handler.wfile.write(b" ")
        handler.wfile.flush()
        time.sleep(0.2)


ANSWERS: dict[str, Answer] = {
    "closes": closes,
    "no-http": no_http,
    "drips": drips,
    "empty": body(b""),
    "page": body(b"<html>Please log in</html>"),
    "cut": body(b'{"id": ', said=1000),
    "list": body(b"[]"),
    "deep": body(b"[" * 100_000),
    "no-choices": body(b'{"id": "x", "choices": []}'),
    "null-choices": body(b'{"id": "x", "choices": null}'),
    "number-as-text": body(choice(content=5)),
    "no-text": body(choice(content=None)),
    "blank": body(choice(content=" \n\0")),
    "unlike-usage": body(choice(content=" ")[:-1] + b', "usage": {"total_tokens": 1e999}}'),
    "gone": body(b"{}", status=404),
    "wrong-key": body(b'{"error": {"message": "no such key"}}', status=401),
    "busy": body(b"busy", status=503),
    "elsewhere": body(b"", status=307, Location="http://127.0.0.1:9/v1"),
}


CAPTION = "A field of coloured noise."
VERDICTS = "\n".join(
    f"{number}. {question.title}: the first image is better. The reason is that it is sharper."
    for number, question in enumerate(PAPER, start=1)
)
ODD_TEXTS = {
    "thoughts": "<think>\nA short caption is wanted.\n</think>\n\n{}",
    "end-of-thoughts-alone": "A short caption is wanted.\n</think>\n{}",
    "nul": "\0{}\0",
    "half-a-surrogate": "\ud83d{}",
    "marks": "<|im_start|>assistant\n{}<|im_end|>",
}
"""What models put around an answer (`{}`) that is none the worse for it."""


@pytest.mark.parametrize("kind", ODD_TEXTS)
def test_a_caption_is_kept_without_what_is_odd_about_its_answer(
    kind: str, world: Path, tiny_model: Path, run: Run
) -> None:
    with serving(body(choice(content=ODD_TEXTS[kind].format(CAPTION)))) as url:
        code, out, err = run(arguments(COMMANDS[0], tiny_model, URL=url))
    assert code == 0, out + err
    lines = (world / "pictures" / "metadata.jsonl").read_text().splitlines()
    assert [json.loads(line)["text"] for line in lines] == [CAPTION] * 2


@pytest.mark.parametrize("kind", ODD_TEXTS)
def test_a_judgement_is_read_whatever_is_odd_about_its_answer(
    kind: str, world: Path, tiny_model: Path, run: Run
) -> None:
    with serving(body(choice(content=ODD_TEXTS[kind].format(VERDICTS)))) as url:
        code, out, err = run(arguments(COMMANDS[1], tiny_model, URL=url))
    assert code == 0, out + err
    lines = (world / "out" / "answers.jsonl").read_text().splitlines()
    assert len(lines) == 2 * 2 * len(PAPER)  # pairs, orders, questions


@pytest.mark.parametrize("command", COMMANDS, ids=["caption", "judge"])
def test_one_odd_answer_of_many_ends_no_run(
    command: str, world: Path, tiny_model: Path, run: Run
) -> None:
    good = body(choice(content=VERDICTS if command.startswith("judge") else CAPTION))
    answers = iter([body(choice(content="<think>\nNothing but \ud83d thoughts.\0\n</think>\n"))])
    with serving(lambda handler: next(answers, good)(handler)) as url:
        code, out, err = run(arguments(f"{command} --tries 1", tiny_model, URL=url))
        assert code == 1 and not errors_of(err), out + err
        assert ("empty" in out) if command.startswith("dataset") else ("unparsable: 1" in out)
        code, out, err = run(arguments(f"{command} --tries 2", tiny_model, URL=url))
    assert code == 0, out + err


@pytest.mark.slow
@pytest.mark.parametrize("kind", ANSWERS)
@pytest.mark.parametrize("command", COMMANDS, ids=["caption", "judge"])
def test_an_odd_answer_is_at_worst_a_picture_without_one(
    command: str, kind: str, world: Path, tiny_model: Path, run: Run
) -> None:
    before = contents(world.parent)
    with serving(ANSWERS[kind]) as url:
        code, out, err = run(arguments(command, tiny_model, URL=url))
    assert code == 1, out + err
    errors = errors_of(err)
    assert len(errors) <= 1
    # The endpoint's fault, or that of each picture.
    answered = f"unparsable: {2 * 2} answers: " in out  # of pairs, each in both orders
    assert answered or url in "".join(errors) or "pictures/0.png" in out, out + err
    unharmed(world, before, may=("out", "pictures/.captions", "pictures/captions"))
