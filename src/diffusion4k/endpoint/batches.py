"""The Batch API: a file of requests, answered within 24 hours at half the price.

    upload a JSONL file -> create a batch -> ask until it is done -> download the answers

A batch carries a name of ours in its metadata. Whether a batch was created although the answer got
lost, or the process was killed before it could note the id, is found out by that name, so that
none is created twice.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

from diffusion4k.endpoint.client import EndpointAnswer, chat_body, parse_answer
from diffusion4k.endpoint.sender import Sender
from diffusion4k.endpoint.settings import EndpointSettings
from diffusion4k.errors import one_line

if TYPE_CHECKING:
    from openai import AsyncOpenAI
    from openai.types import Batch, FileObject
    from openai.types.chat import ChatCompletionMessageParam as Message

__all__ = [
    "MOST_BYTES",
    "MOST_REQUESTS",
    "BatchResult",
    "batch_line",
    "create_batch",
    "find_batch",
    "results",
]

MOST_REQUESTS = 50_000
"""Requests in a batch, by OpenAI's rules."""
MOST_BYTES = 190_000_000
"""Bytes of its file; the rules allow 200 MB."""
_LABEL = "diffusion4k"
_LISTED = 1000  # batches looked through by name, newest first
_PATH: Final = "/v1/chat/completions"


@dataclass(frozen=True)
class BatchResult:
    """What came of one request of a batch."""

    key: str
    answer: EndpointAnswer | None
    reason: str
    """Why there is no answer."""


def batch_line(settings: EndpointSettings, messages: "list[Message]", key: str) -> bytes:
    """A chat request as a line of a batch's file."""
    body = chat_body(settings, messages)
    line = {"custom_id": key, "method": "POST", "url": _PATH, "body": body}
    return json.dumps(line).encode() + b"\n"


async def create_batch(sender: Sender, file: Path, name: str) -> str:
    """Upload the file and have it worked on; the id of the batch."""
    call = sender.endpoint.call

    async def upload() -> "FileObject":
        with file.open("rb") as content:
            sent = (f"{name}.jsonl", content, "application/jsonl")
            return await call(lambda client: client.files.create(file=sent, purpose="batch"))

    uploaded = await sender.repeat(upload)

    async def create() -> str:
        if known := await find_batch(sender, name):
            return known
        batch = await call(
            lambda client: client.batches.create(
                input_file_id=uploaded.id,
                endpoint=_PATH,
                completion_window="24h",
                metadata={_LABEL: name},
                extra_headers={"Idempotency-Key": name},
            )
        )
        return str(batch.id)

    return await sender.repeat(create)


async def find_batch(sender: Sender, name: str) -> str | None:
    """The id of the batch of that name, if the endpoint has one."""

    async def look(client: "AsyncOpenAI") -> str | None:
        seen = 0
        async for batch in client.batches.list(limit=100):
            if (batch.metadata or {}).get(_LABEL) == name:
                return str(batch.id)
            seen += 1
            if seen >= _LISTED:
                break
        return None

    return await sender.endpoint.call(look)


async def results(sender: Sender, batch: "Batch") -> list[BatchResult]:
    """What came of the requests of a batch that has ended; those it never came to are absent."""
    found: list[BatchResult] = []
    for file in (batch.output_file_id, batch.error_file_id):
        if file:
            found += await sender.repeat(partial(_download, sender, file))
    return found


async def _download(sender: Sender, file: str) -> list[BatchResult]:
    async def read(client: "AsyncOpenAI") -> list[BatchResult]:
        content = await client.files.content(file)
        return list(_parsed(sender, content.content))

    return await sender.endpoint.call(read)


def _parsed(sender: Sender, content: bytes) -> Iterator[BatchResult]:
    """The answer of each line, or why there is none; `ValueError` if the file is cut off."""
    for line in content.splitlines():
        if not line.strip():
            continue
        try:
            row = json.loads(line)
            key, response = str(row["custom_id"]), row.get("response") or {}
            body, status = response.get("body"), response.get("status_code")
        except (AttributeError, KeyError, RecursionError, TypeError):
            continue  # Not a line that answers a request: that request has no answer.
        answer = parse_answer(body, response.get("request_id")) if status == 200 else None
        error = row.get("error") or (body.get("error") if isinstance(body, dict) else None)
        said = error.get("message") if isinstance(error, dict) else None
        reason = sender.endpoint.hide(one_line(said or "no answer"))
        yield BatchResult(key, answer and sender.endpoint.hidden(answer), reason)
