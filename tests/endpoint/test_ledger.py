"""The ledger's file: hashes remembered, one holder, a copy to look things up in."""

import hashlib
import os
from pathlib import Path

import pytest

from diffusion4k.endpoint.ledger import LedgerFile, scratch_copy, text_hash
from diffusion4k.errors import Diffusion4kError

SCHEMA = "CREATE TABLE IF NOT EXISTS answers (text TEXT);"


def test_hashes_are_those_of_the_bytes_even_after_a_change(tmp_path: Path) -> None:
    picture = tmp_path / "a.png"
    with LedgerFile(tmp_path / "l.sqlite", SCHEMA, "asking") as ledger:
        for content in (b"one", b"two", b"three"):
            picture.write_bytes(content)
            assert ledger.hash_of(picture) == hashlib.sha256(content).hexdigest()
        os.utime(picture, (1e9, 1e9))  # long ago: remembered from now on
        old = ledger.hash_of(picture)
        picture.write_bytes(b"eerht")
        os.utime(picture, (1e9, 1e9))
        assert ledger.hash_of(picture) == old
    assert text_hash("one") == hashlib.sha256(b"one").hexdigest()


def test_one_holder_at_a_time_and_a_copy_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "l.sqlite"
    with LedgerFile(path, SCHEMA, "asking") as ledger:
        with ledger.durable():
            ledger.connection.execute("INSERT INTO answers VALUES ('paid')")
        with pytest.raises(Diffusion4kError, match="another run is asking with it"):
            LedgerFile(path, SCHEMA, "asking")
        with scratch_copy(path) as copy, LedgerFile(copy, SCHEMA, "asking") as other:
            assert other.connection.execute("SELECT * FROM answers").fetchall() == [("paid",)]
            other.connection.execute("DELETE FROM answers")
        assert ledger.connection.execute("SELECT COUNT(*) FROM answers").fetchone() == (1,)
    with scratch_copy(tmp_path / "none.sqlite") as copy:
        assert not copy.exists()


def test_what_a_killed_run_left_under_way_is_lost(tmp_path: Path) -> None:
    path = tmp_path / "l.sqlite"
    with LedgerFile(path, SCHEMA, "asking") as ledger:
        ledger.spending.reserve("key", 0.5)
    with LedgerFile(path, SCHEMA, "asking") as ledger:
        assert ledger.spending.lost() == (1, 0.5)
