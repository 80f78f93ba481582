"""PNG files written in strips of rows, so that an image need never be whole in memory.

Rows are filtered and compressed in chunks of a few hundred kilobytes, several at once; each chunk
ends on a byte boundary and starts without memory of the one before, so that together they are one
zlib stream (as pigz does it). Source: W3C PNG Specification (Third Edition); RFC 1950 and 1951.
"""

import struct
import zlib
from collections import deque
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

__all__ = ["PngWriter"]

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_ZLIB_HEADER = b"\x78\x01"  # 32 KiB window, fastest compression
_CHUNK = 2**20  # bytes of pixels compressed at once
_LEVEL = 1  # higher ones take seconds at 4096x4096 and save a few percent
_SUB, _UP = 1, 2


class PngWriter:
    """Writes an RGB image of `width` x `height`, 8 bits a channel, to an open binary file.

    Use as a context manager; `write` rows from the top until all are there.

    Args:
        texts: keyword and text of iTXt chunks (uncompressed UTF-8), which stand before the pixels.

    Raises:
        ValueError: rows of another shape, more rows than the height, or fewer when it is closed.
    """

    def __init__(
        self, file: BinaryIO, width: int, height: int, texts: Mapping[str, str] | None = None
    ) -> None:
        import torch

        self.file, self.width, self.height = file, width, height
        self._rows = 0
        self._above: NDArray[np.uint8] | None = None
        self._checksum = zlib.adler32(b"")
        threads = max(1, torch.get_num_threads())
        self._pool = ThreadPoolExecutor(threads)
        self._pending: deque[Future[bytes]] = deque()
        self._most_pending = 2 * threads
        file.write(_SIGNATURE)
        # Depth 8, colour type 2 (RGB), the one compression and filter method, no interlace.
        self._chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
        for keyword, text in (texts or {}).items():
            head = keyword.encode("latin-1") + b"\0" + b"\0\0" + b"\0" + b"\0"
            self._chunk(b"iTXt", head + text.encode())
        self._chunk(b"IDAT", _ZLIB_HEADER)

    def __enter__(self) -> "PngWriter":
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        try:
            if kind is None:
                self.close()
        finally:
            self._pool.shutdown(cancel_futures=True)

    def write(self, rows: NDArray[np.uint8]) -> None:
        """The next rows, `(N, width, 3)` uint8."""
        if rows.shape[1:] != (self.width, 3) or rows.dtype != np.uint8:
            raise ValueError(f"rows of shape {rows.shape}, {rows.dtype}: not (N, {self.width}, 3)")
        if self._rows + len(rows) > self.height:
            raise ValueError(f"{self._rows + len(rows)} rows for an image of {self.height}")
        step = max(1, _CHUNK // (3 * self.width))
        for start in range(0, len(rows), step):
            self._put(rows[start : start + step])
        self._rows += len(rows)

    def close(self) -> None:
        """Write what is left and the end of the file."""
        if self._rows != self.height:
            raise ValueError(f"{self._rows} rows of {self.height} written")
        while self._pending:
            self._chunk(b"IDAT", self._pending.popleft().result())
        last = zlib.compressobj(_LEVEL, zlib.DEFLATED, -15).flush(zlib.Z_FINISH)
        self._chunk(b"IDAT", last + struct.pack(">I", self._checksum))
        self._chunk(b"IEND", b"")

    def _put(self, rows: NDArray[np.uint8]) -> None:
        filtered = _filtered(rows, self._above)
        self._above = rows[-1].copy()
        self._checksum = zlib.adler32(filtered, self._checksum)
        if len(self._pending) == self._most_pending:
            self._chunk(b"IDAT", self._pending.popleft().result())
        self._pending.append(self._pool.submit(_compressed, filtered))

    def _chunk(self, kind: bytes, data: bytes) -> None:
        self.file.write(struct.pack(">I", len(data)) + kind + data)
        self.file.write(struct.pack(">I", zlib.crc32(data, zlib.crc32(kind))))


def _filtered(rows: NDArray[np.uint8], above: NDArray[np.uint8] | None) -> bytes:
    """Each row as its filter's number and the differences to its neighbours above, modulo 256."""
    found = np.empty((len(rows), 1 + rows.shape[1] * 3), np.uint8)
    found[:, 0] = _UP
    pixels = found[:, 1:].reshape(rows.shape)
    pixels[1:] = rows[1:] - rows[:-1]
    if above is None:
        found[0, 0] = _SUB
        pixels[0, 0] = rows[0, 0]
        pixels[0, 1:] = rows[0, 1:] - rows[0, :-1]
    else:
        pixels[0] = rows[0] - above
    return found.tobytes()


def _compressed(data: bytes) -> bytes:
    compressor = zlib.compressobj(_LEVEL, zlib.DEFLATED, -15)
    return compressor.compress(data) + compressor.flush(zlib.Z_SYNC_FLUSH)
