"""What a transaction read, by the server's own counters, statements inside of functions included."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from psycopg import Connection

_READ = """
SELECT relname, seq_scan, coalesce(idx_tup_fetch, 0) + seq_tup_read
FROM pg_stat_xact_user_tables WHERE schemaname = 'tasker' AND relname IN ('steps', 'tasks')
"""


@contextmanager
def reading(connection: Connection[Any], most_rows: int) -> Iterator[None]:
    """Run the block in a transaction and fail if it reads a whole table, or more rows than it needs."""
    with connection.transaction():
        before = {name: (scans, rows) for name, scans, rows in connection.execute(_READ)}
        yield
        after = {name: (scans, rows) for name, scans, rows in connection.execute(_READ)}
    read = {name: (after[name][0] - before[name][0], after[name][1] - before[name][1]) for name in after}
    assert [name for name, (scans, _) in read.items() if scans] == [], "a whole table was read"
    many = {name: rows for name, (_, rows) in read.items() if rows > most_rows}
    assert many == {}, f"more than {most_rows} rows were read: {many}"
