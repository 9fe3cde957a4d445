"""SQL statements by name, read from the `.sql` files beside this module.

A file holds statements in this form, with the reason for each in comment lines between the name and the SQL:

    -- name: claim_steps
    -- One index scan; the lease is written in the same statement.
    SELECT ...;

Comment lines are not sent to the server, so they may contain a percent sign. In the SQL itself parameters are `%s` or
`%(name)s`, and a literal percent sign is `%%` wherever the statement has parameters.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from importlib.resources import files
from importlib.resources.abc import Traversable
from types import MappingProxyType

_NAME_LINE = re.compile(r"--\s*name:\s*(?P<name>.*?)\s*")
_NAME = re.compile(r"[a-z][a-z0-9_]*")


class StatementError(ValueError):
    """A `.sql` file of the package is malformed; a test reads them all, so no user ever sees this."""


def load_statements(directory: Traversable | None = None) -> Mapping[str, bytes]:
    """Return every statement of a directory's `.sql` files by its name, as bytes, which psycopg takes as a query.

    Reads the package's own `sql` directory unless told otherwise. Call it once and pass the result down. Raises
    StatementError for a name given twice (in any two files), a name without SQL, and SQL without a name.
    """
    directory = directory if directory is not None else files(__package__) / "sql"
    found: dict[str, tuple[str, bytes]] = {}
    for file in sorted(directory.iterdir(), key=lambda item: item.name):
        if not file.name.endswith(".sql"):
            continue
        for name, sql in parse_statements(file.read_text(encoding="utf-8"), file.name):
            if name in found:
                msg = f"{file.name}: statement {name} is already in {found[name][0]}"
                raise StatementError(msg)
            found[name] = (file.name, sql)
    return MappingProxyType({name: sql for name, (_, sql) in found.items()})


def parse_statements(text: str, file_name: str) -> list[tuple[str, bytes]]:
    """Return the statements of one file in order; raises StatementError with the file and the line."""
    statements: list[tuple[str, list[str]]] = []
    for number, line in enumerate(text.splitlines(), start=1):
        if header := _NAME_LINE.fullmatch(line.strip()):
            if not _NAME.fullmatch(header["name"]):
                msg = f"{file_name}:{number}: {header['name']!r} is no name: use lower case, digits and underscores"
                raise StatementError(msg)
            statements.append((header["name"], []))
        elif not line.strip() or line.lstrip().startswith("--"):
            continue
        elif not statements:
            msg = f"{file_name}:{number}: SQL before the first `-- name:` line"
            raise StatementError(msg)
        else:
            statements[-1][1].append(line)
    for name, lines in statements:
        if not lines:
            msg = f"{file_name}: statement {name} is empty"
            raise StatementError(msg)
    return [(name, "\n".join(lines).rstrip().removesuffix(";").encode()) for name, lines in statements]
