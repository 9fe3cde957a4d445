"""Named SQL statements: what the loader takes, and what it refuses with a file and a line."""

import re
from pathlib import Path

import pytest

import tasker_actors.postgres
from tasker_actors.postgres import role
from tasker_actors.postgres.statements import StatementError, load_statements, parse_statements


def test_statements_are_found_by_name_without_their_comments(tmp_path):
    (tmp_path / "b.sql").write_text("-- about the file\n\n-- name: two\n-- 100 % true\nSELECT 2;\n", encoding="utf-8")
    (tmp_path / "a.sql").write_text(
        "--name:one\nSELECT 1,\n    -- why\n    %s;\n-- name: three\nSELECT '--', 3", encoding="utf-8"
    )
    (tmp_path / "README").write_text("no SQL", encoding="utf-8")
    statements = load_statements(tmp_path)
    assert statements == {"one": b"SELECT 1,\n    %s", "three": b"SELECT '--', 3", "two": b"SELECT 2"}


def test_the_mapping_cannot_be_changed(tmp_path):
    with pytest.raises(TypeError):
        load_statements(tmp_path)["x"] = b"SELECT 1"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("SELECT 1;", "f.sql:1: SQL before the first"),
        ("-- name: Bad-Name\nSELECT 1;", "f.sql:1: 'Bad-Name' is no name"),
        ("-- name:\nSELECT 1;", "f.sql:1: '' is no name"),
        ("-- name: one\n-- nothing\n-- name: two\nSELECT 1", "f.sql: statement one is empty"),
    ],
)
def test_a_malformed_file_is_refused(text, reason):
    with pytest.raises(StatementError, match=f"^{re.escape(reason)}"):
        parse_statements(text, "f.sql")


def test_a_name_given_twice_is_refused_with_both_files(tmp_path):
    for name in ("a.sql", "b.sql"):
        (tmp_path / name).write_text("-- name: same\nSELECT 1", encoding="utf-8")
    with pytest.raises(StatementError, match=r"b\.sql: statement same is already in a\.sql"):
        load_statements(tmp_path)


def test_the_packages_own_statements_are_well_formed_and_used():
    package = Path(tasker_actors.postgres.__file__).parent
    code = "\n".join(path.read_text(encoding="utf-8") for path in package.glob("*.py"))
    # What is granted to a role is one list, in the order of the file.
    used = {name for name in load_statements() if f'"{name}"' in code} | set(role._GRANTS)
    unused = load_statements().keys() - used
    assert not unused
