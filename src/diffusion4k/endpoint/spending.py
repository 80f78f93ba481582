"""Spending at an endpoint: every request is written down before it is sent.

    sent     under way; its greatest possible cost is reserved
    paid     answered; its cost by the tokens that the endpoint reported
    lost     perhaps billed, but no answer came (time-out, cut off, killed while under way): the
             reserved cost counts as spent

    spent = sum of all three, over all runs with one ledger

A request that surely cost nothing (429, 5xx, no connection) is struck out. Table:

    requests    id INTEGER, key TEXT, state TEXT, cost REAL (dollars), created REAL (unix time)
"""

import sqlite3
import time
from collections.abc import Iterable

__all__ = ["Spending"]

_SCHEMA = """
CREATE TABLE IF NOT EXISTS requests (
    id INTEGER PRIMARY KEY,
    key TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('sent', 'paid', 'lost')),
    cost REAL NOT NULL,
    created REAL NOT NULL
)
"""


class Spending:
    """The table `requests` in an SQLite file.

    Each method is a transaction of its own unless it says otherwise.
    """

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        with connection:
            connection.execute(_SCHEMA)
        query = "SELECT COALESCE(SUM(cost), 0) FROM requests"
        self.spent = float(connection.execute(query).fetchone()[0])
        """Dollars spent, reserved, or perhaps spent."""
        self._reserved: dict[int, float] = {}

    @property
    def settled(self) -> float:
        """Dollars spent or perhaps spent, without what is reserved for requests under way."""
        return self.spent - sum(self._reserved.values())

    @property
    def summary(self) -> str:
        """The dollars spent or perhaps spent, for people."""
        return f"${self.settled:.4f}"

    def reserve(self, key: str, cost: float) -> int:
        """Write a request down before it is sent; its number."""
        with self._connection:
            number = self.reserve_many(key, cost)
        self._reserved[number] = cost
        return number

    def pay(self, number: int, cost: float) -> None:
        """Record the cost of an answer, inside the transaction in which the caller stores it."""
        self._connection.execute(
            "UPDATE requests SET state = 'paid', cost = ? WHERE id = ?", (cost, number)
        )
        self.spent += cost - self._reserved.pop(number)

    def strike(self, number: int) -> None:
        """Delete a reservation whose request surely cost nothing."""
        with self._connection:
            self._connection.execute("DELETE FROM requests WHERE id = ?", (number,))
        self.spent -= self._reserved.pop(number)

    def lose(self, number: int) -> None:
        """Count a request that was perhaps billed, but had no answer."""
        with self._connection:
            self._connection.execute("UPDATE requests SET state = 'lost' WHERE id = ?", (number,))
        self._reserved.pop(number)

    def reserve_many(self, key: str, cost: float) -> int:
        """Write many requests down as one; inside the caller's transaction."""
        number = self._insert(key, "sent", cost)
        self.spent += cost
        return number

    def pay_part(self, key: str, cost: float) -> int:
        """One answer of many that were reserved together; inside the caller's transaction."""
        number = self._insert(key, "paid", cost)
        self.spent += cost
        return number

    def release(self, number: int) -> None:
        """Nothing more is to come of what was reserved; inside the caller's transaction."""
        row = self._connection.execute("SELECT cost FROM requests WHERE id = ?", (number,))
        self.spent -= row.fetchone()[0]
        self._connection.execute("DELETE FROM requests WHERE id = ?", (number,))

    def lost(self) -> tuple[int, float]:
        """How many requests were perhaps billed without an answer, and the dollars reserved."""
        query = "SELECT COUNT(*), COALESCE(SUM(cost), 0) FROM requests WHERE state = 'lost'"
        count, cost = self._connection.execute(query).fetchone()
        return int(count), float(cost)

    def lose_killed(self, keep: Iterable[int]) -> None:
        """Lose what a killed run left under way, but for the numbers in `keep`."""
        kept = set(keep)
        query = "SELECT id FROM requests WHERE state = 'sent'"
        left = [row for row in self._connection.execute(query).fetchall() if row[0] not in kept]
        with self._connection:
            self._connection.executemany("UPDATE requests SET state = 'lost' WHERE id = ?", left)

    def _insert(self, key: str, state: str, cost: float) -> int:
        number = self._connection.execute(
            "INSERT INTO requests (key, state, cost, created) VALUES (?, ?, ?, ?)",
            (key, state, cost, time.time()),
        ).lastrowid
        assert number is not None
        return number
