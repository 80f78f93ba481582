"""The client: its key, its settings, and how it asks."""

import asyncio
import json
import re
import sys
from types import SimpleNamespace

import pytest
from pydantic import ValidationError

from diffusion4k.endpoint.client import Endpoint, parse_answer
from diffusion4k.endpoint.failures import Passing
from diffusion4k.endpoint.settings import EndpointSettings
from diffusion4k.errors import Diffusion4kError, UsageError

pytest.importorskip("openai")


@pytest.mark.parametrize(
    ("given_url", "used"),
    [
        ("http://localhost:8000", "http://localhost:8000/v1"),
        ("http://localhost:8000/", "http://localhost:8000/v1"),
        ("http://localhost:11434/v1/", "http://localhost:11434/v1"),
        ("https://host/openai/v1", "https://host/openai/v1"),
    ],
)
def test_address(given_url: str, used: str) -> None:
    assert EndpointSettings(url=given_url).url == used


@pytest.mark.parametrize(
    "url",
    [
        *("localhost:8000", "ftp://host/v1", "http://", "http://host:99999/v1"),
        *("http://user:secret@host/v1", "https://host/v1?key=secret"),
    ],
)
def test_no_address(url: str) -> None:
    with pytest.raises(ValidationError, match="url"):
        EndpointSettings(url=url)


@pytest.mark.parametrize("url", ["http://a b/v1", "http://xn--/v1", "http://..com/v1"])
def test_an_address_that_only_the_library_refuses(url: str) -> None:
    async def ask() -> None:
        async with Endpoint(EndpointSettings(url=url)) as endpoint:
            await endpoint.chat([], key="k")

    with pytest.raises((Diffusion4kError, Passing), match=re.escape(url)):
        asyncio.run(ask())


def test_openai_needs_a_key_and_a_local_server_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with pytest.raises(UsageError, match="set the environment variable OPENAI_API_KEY"):
        Endpoint(EndpointSettings())
    Endpoint(EndpointSettings(url="http://localhost:8000/v1"))


@pytest.mark.parametrize("key", ["sk-a\nb", "sk-é", "sk-\x7f"])
def test_a_key_that_no_header_can_carry(key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", key)
    with pytest.raises(UsageError, match="holds characters") as error:
        Endpoint(EndpointSettings())
    assert key not in str(error.value)


def test_without_the_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-x")
    monkeypatch.setitem(sys.modules, "openai", None)
    with pytest.raises(Diffusion4kError, match=r"pip install 'diffusion4k\[endpoint\]'"):
        Endpoint(EndpointSettings())


@pytest.mark.parametrize(
    "body",
    [
        None,
        "text",
        {},
        {"choices": []},
        {"choices": None},
        {"choices": [{"message": None}]},
        {"choices": [{"message": {"content": 5}}]},
        {"choices": [{"message": {"content": [{"type": "text"}]}}]},
        {"error": {"message": "overloaded"}},
    ],
)
def test_no_answer(body: object) -> None:
    assert parse_answer(body, None) is None


def test_an_answer_without_counts() -> None:
    answer = parse_answer({"choices": [{"message": {"content": "A lake."}}]}, "r")
    assert answer and answer.text == "A lake." and answer.request_id == "r"
    assert answer.input_tokens is None and answer.finish is None


def test_the_key_is_taken_out_of_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    from tests.endpoint.server import KEY, StandIn, serving

    monkeypatch.setenv("OPENAI_API_KEY", f" {KEY}\n")
    standin = StandIn(models=(f"model {KEY}",))
    image = {"url": "data:image/jpeg;base64,AAAA"}
    messages = [{"role": "user", "content": [{"type": "image_url", "image_url": image}]}]

    async def ask(url: str, model: str) -> str:
        async with Endpoint(EndpointSettings(url=url, model=model)) as endpoint:
            assert endpoint.hide(f"<{KEY}>") == "<[key]>"
            return (await endpoint.chat(messages, key="k")).text

    with serving(standin) as url:
        assert "stand-in" in asyncio.run(ask(url, f"model {KEY}"))
    assert standin.bodies == [{"model": f"model {KEY}", "messages": None, "max_tokens": 200}]
    assert standin.keys == ["k"]


@pytest.mark.parametrize("key", ["x", "none", "test", "A fox"])
def test_a_key_that_is_none_is_left_in_answers(key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", key)
    endpoint = Endpoint(EndpointSettings(url="http://localhost:8000/v1"))
    assert endpoint.hide("A fox has none in this test") == "A fox has none in this test"


def test_odd_values_beside_the_text_are_none() -> None:
    message = {"content": [{"type": "text", "text": "A "}, {"type": "text", "text": "lake."}]}
    choice = {"message": message, "finish_reason": ["stop"]}
    for count in (-1, True, 2.5, "9", 1 << 63, 10**400):
        answer = parse_answer({"choices": [choice], "usage": {"prompt_tokens": count}}, 7)
        assert answer and answer.text == "A lake."
        assert answer.input_tokens is answer.finish is answer.request_id is None


def test_lines_of_a_batch_that_answer_nothing_are_passed_over() -> None:
    from diffusion4k.endpoint.batches import _parsed

    sender = SimpleNamespace(endpoint=SimpleNamespace(hide=str, hidden=lambda answer: answer))
    body = {"choices": [{"message": {"content": "A lake."}}]}
    good = {"custom_id": "k", "response": {"status_code": 200, "body": body}}
    lines = ["[1]", "3", "{}", '{"custom_id": "a", "response": [1]}', "[" * 10**5]
    content = "\n".join([*lines, json.dumps(good)]).encode()
    (result,) = _parsed(sender, content)  # type: ignore[arg-type]
    assert (result.key, result.answer and result.answer.text) == ("k", "A lake.")
