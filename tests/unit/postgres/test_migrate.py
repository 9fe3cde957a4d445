"""Files of migrations: numbering and checksums, as far as they need no database."""

import pytest

from tasker_actors.errors import StartupError
from tasker_actors.postgres.migrate import MigrationStatus, load_migrations


def test_files_come_in_the_order_of_their_numbers(tmp_path):
    (tmp_path / "0002_more.sql").write_bytes(b"SELECT 2")
    (tmp_path / "0001_first_table.sql").write_bytes(b"SELECT 1")
    (tmp_path / "README.md").write_bytes(b"no migration")
    migrations = load_migrations(tmp_path)
    assert [(item.version, item.name, item.sql) for item in migrations] == [
        (1, "first_table", b"SELECT 1"),
        (2, "more", b"SELECT 2"),
    ]
    assert migrations[0].file_name == "0001_first_table.sql"


def test_line_ends_do_not_change_a_checksum(tmp_path):
    (tmp_path / "0001_a.sql").write_bytes(b"SELECT\n1;\n")
    unix = load_migrations(tmp_path)
    (tmp_path / "0001_a.sql").write_bytes(b"SELECT\r\n1;\r\n")
    assert load_migrations(tmp_path) == unix


@pytest.mark.parametrize(
    ("names", "reason"),
    [
        (["0001_a.sql", "0003_c.sql"], "0003_c.sql: number 0002 was expected"),
        (["0001_a.sql", "0001_b.sql"], "0001_b.sql: number 0002 was expected"),
        (["0000_a.sql"], "number 0001 was expected"),
        (["1_a.sql"], "NNNN_what_it_does.sql"),
        (["0001_A.sql"], "NNNN_what_it_does.sql"),
    ],
)
def test_a_gap_a_repeated_number_and_a_strange_name_are_refused(tmp_path, names, reason):
    for name in names:
        (tmp_path / name).write_bytes(b"SELECT 1")
    with pytest.raises(StartupError, match=reason):
        load_migrations(tmp_path)


def test_the_packages_own_migrations_can_be_loaded():
    load_migrations()


def test_the_current_migration_is_the_last_one_applied():
    assert MigrationStatus((), ("0001_a.sql",), ()).current is None
    assert MigrationStatus(("0001_a.sql",), (), ()).current == "0001_a.sql"
    assert MigrationStatus(("0001_a.sql",), (), ("0002_b.sql",)).current == "0002_b.sql"
