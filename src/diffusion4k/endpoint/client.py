"""One request to an OpenAI-compatible endpoint, by the `openai` library, and its answer.

Its own retries are off: what may be sent again, and when, is decided in `sender`. The key is read
from the environment when the client is made. It is in no message, answer or file of ours: should an
endpoint repeat it, it is taken out.
"""

import asyncio
import os
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypedDict, TypeVar

from diffusion4k.endpoint import defaults
from diffusion4k.endpoint.answer_text import clean_text
from diffusion4k.endpoint.bounded import TooLargeError, bounded_client
from diffusion4k.endpoint.failures import Passing, classified
from diffusion4k.endpoint.settings import EndpointSettings
from diffusion4k.errors import Diffusion4kError, UsageError

if TYPE_CHECKING:
    from openai import AsyncOpenAI
    from openai.types.chat import ChatCompletionMessageParam as Message

__all__ = ["Endpoint", "EndpointAnswer", "chat_body", "parse_answer"]

Result = TypeVar("Result")
KEY = "OPENAI_API_KEY"
_SHORTEST_KEY = 12  # characters of a key that is one
_LONGEST = 3600.0  # seconds for a file of a batch
_MOST_TOKENS = 1 << 40  # that an endpoint is believed to have counted
_NO_KEY = "none"  # Local servers want none, but the library wants to send one.


@dataclass(frozen=True)
class EndpointAnswer:
    """What a model answered."""

    text: str
    refusal: str | None
    """The endpoint's own word that the model declined."""
    finish: str | None
    """Why it ended: `stop`; `length`, at `max_output_tokens`; `content_filter`."""
    input_tokens: int | None
    """Tokens as the endpoint counted them; None if it does not say."""
    output_tokens: int | None
    request_id: str | None


class Endpoint:
    """A connection to an endpoint, for use as `async with Endpoint(settings) as endpoint`.

    Raises:
        UsageError: OpenAI's endpoint without a key, or a key that no header can carry.
        Diffusion4kError: the `openai` library is not installed.
    """

    def __init__(self, settings: EndpointSettings) -> None:
        self.settings = settings
        self._key = _key_from_environment(settings)
        try:
            from openai import AsyncOpenAI
        except ImportError:
            raise Diffusion4kError(
                "chat endpoints need the openai library: pip install 'diffusion4k[endpoint]'"
            ) from None
        try:
            self._client = AsyncOpenAI(
                api_key=self._key or _NO_KEY,
                base_url=settings.url,
                timeout=settings.timeout,
                max_retries=0,
                http_client=bounded_client(),
            )
        except Exception:  # Its HTTP library's own opinion of addresses, or of proxies.
            raise UsageError(
                f"{settings.url}: no connection can be made to this address: check it, and the "
                "proxies in the environment"
            ) from None

    async def __aenter__(self) -> "Endpoint":
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._client.close()

    async def chat(self, messages: "list[Message]", *, key: str) -> EndpointAnswer:
        """Ask once.

        `key` is sent as Idempotency-Key: an endpoint that honours it bills a question that it gets
        twice only once.

        Raises:
            Passing, Unwanted: see `failures`.
            Diffusion4kError: no request will be answered.
        """
        body = chat_body(self.settings, messages)
        completion = await self.call(
            lambda client: client.chat.completions.create(
                **body, extra_headers={"Idempotency-Key": key}
            ),
            within=self.settings.timeout + 1,  # The library's own goes first, which says more.
        )
        dump = getattr(completion, "model_dump", None)
        answer = parse_answer(
            dump(warnings=False) if dump else None, getattr(completion, "_request_id", None)
        )
        if answer is None:
            raise Passing(
                f"{self.settings.url}: the answer is not a chat completion", perhaps_billed=True
            )
        return self.hidden(answer)

    async def call(
        self, request: Callable[["AsyncOpenAI"], Awaitable[Result]], *, within: float = _LONGEST
    ) -> Result:
        """Whatever else the library can do, with its errors turned into ours.

        After `within` seconds it is cut off: the library's own limit restarts with each byte.
        """
        import openai

        try:
            return await asyncio.wait_for(request(self._client), within)
        except asyncio.TimeoutError:
            raise Passing(
                f"{self.settings.url}: no answer within {within:g} s", perhaps_billed=True
            ) from None
        except TooLargeError as error:
            raise Passing(f"{self.settings.url}: {error}", perhaps_billed=True) from None
        except (openai.OpenAIError, ValueError, RecursionError) as error:
            raise classified(error, self.settings, self.hide) from None

    def hide(self, text: str) -> str:
        """The text without the key."""
        # A short one is none: local servers are given "none" or "x", and captions hold such words.
        is_secret = len(self._key) >= _SHORTEST_KEY
        return text.replace(self._key, "[key]") if is_secret else text

    def hidden(self, answer: EndpointAnswer) -> EndpointAnswer:
        """The answer without the key, should the endpoint repeat it."""
        return EndpointAnswer(
            self.hide(answer.text),
            answer.refusal and self.hide(answer.refusal),
            answer.finish,
            answer.input_tokens,
            answer.output_tokens,
            answer.request_id and self.hide(answer.request_id),
        )


class ChatBody(TypedDict):
    """The body of a chat request."""

    model: str
    messages: "list[Message]"
    max_tokens: int


def chat_body(settings: EndpointSettings, messages: "list[Message]") -> ChatBody:
    """The body of a chat request."""
    return {
        "model": settings.model,
        "messages": messages,
        "max_tokens": settings.max_output_tokens,
    }


def parse_answer(body: Any, request_id: object) -> EndpointAnswer | None:
    """The answer in a chat completion's JSON, its text cleaned; None if there is none in it."""
    try:
        choice = body["choices"][0]
        message = choice["message"]
        text, refusal = message.get("content"), message.get("refusal")
        finish = choice.get("finish_reason")
        usage = body.get("usage") or {}
        counts = [usage.get(name) for name in ("prompt_tokens", "completion_tokens")]
        if isinstance(text, list):  # In parts, as some servers send it.
            text = "".join(part["text"] for part in text if part.get("type") == "text")
    except (AttributeError, IndexError, KeyError, TypeError):
        return None
    if not isinstance(text, str | None) or not isinstance(refusal, str | None):
        return None
    input_tokens, output_tokens = (
        n if type(n) is int and 0 <= n <= _MOST_TOKENS else None for n in counts
    )
    return EndpointAnswer(
        clean_text(text or ""),
        refusal and (clean_text(refusal) or "refused"),
        clean_text(finish) if isinstance(finish, str) else None,
        input_tokens,
        output_tokens,
        clean_text(request_id) if isinstance(request_id, str) else None,
    )


def _key_from_environment(settings: EndpointSettings) -> str:
    key = os.environ.get(KEY, "").strip()
    if not key and settings.url.startswith(defaults.URL):
        raise UsageError(
            f"{settings.url}: needs a key: set the environment variable {KEY}, or name a "
            "model on this "
            "on this machine, as --endpoint http://localhost:11434/v1 --model NAME does for Ollama"
        )
    if not (key.isascii() and key.isprintable()):
        raise UsageError(f"the key in {KEY} holds characters that no key has: copy it again")
    return key
