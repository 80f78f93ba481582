"""Damage that decoders of WebP and AVIF do not report: data that never arrived.

A download whose space was reserved, or a hole in a file, is a run of zeros, which both decoders
take for pixels. What both write is entropy-coded and holds no such run.
"""

import struct
from collections.abc import Iterator

__all__ = ["check_finished"]

_HOLE = bytes(4096)
"""A block of a disk. Even a picture in one colour does not compress into so many zeros."""


def check_finished(content: bytes, image_format: str) -> None:
    """Raise `ValueError` if the compressed pixels of a WebP or AVIF file have a hole."""
    for start, end in _pixel_data(content, image_format):
        hole = content.find(_HOLE, start, end)
        if hole >= 0:
            raise ValueError(f"its data are zeros from byte {hole} on, as of an unfinished copy")


def _pixel_data(content: bytes, image_format: str) -> Iterator[tuple[int, int]]:
    if image_format == "WEBP":
        yield from _webp_chunks(content)
    else:
        yield from _avif_boxes(content)


def _webp_chunks(content: bytes) -> Iterator[tuple[int, int]]:
    offset = 12
    while offset + 8 <= len(content):
        kind, size = struct.unpack_from("<4sI", content, offset)
        if kind in (b"VP8 ", b"VP8L", b"ALPH", b"ANMF"):
            yield offset + 8, offset + 8 + size
        offset += 8 + size + size % 2


def _avif_boxes(content: bytes) -> Iterator[tuple[int, int]]:
    offset = 0
    while offset + 8 <= len(content):
        size, kind = struct.unpack_from(">I4s", content, offset)
        if size == 1 and offset + 16 <= len(content):
            size = struct.unpack_from(">Q", content, offset + 8)[0]
        size = size or len(content) - offset
        if kind == b"mdat":
            yield offset, offset + size
        offset += max(size, 8)
