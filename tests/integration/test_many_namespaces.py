"""A claim for many namespaces: the oldest of all, and no more read than that takes (DESIGN 3)."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg import Connection
from support.flow import Flow, Worker, own_database
from support.reading import reading
from support.servers import DatabaseServer

from tasker_actors.errors import StartupError
from tasker_actors.postgres.connect import connect
from tasker_actors.postgres.templates import load_definitions

_STEPS = """
INSERT INTO tasker.steps (
    task_uuid, position, step_uuid, namespace, name, state, open_dependencies, max_attempts, run_at, updated_at)
SELECT gen_random_uuid(), 1, gen_random_uuid(), namespace, 'only', 'enqueued', 0, 1,
       now() - make_interval(secs => age), now()
FROM unnest(%s::text[], %s::integer[]) AS s(namespace, age)
"""
_CLAIM = "SELECT tasker.claim_steps_v1(%s, %s, %s, 30000, 1000000)"
_NAMES = [f"n{number}" for number in range(200)]


@pytest.fixture(scope="module")
def flow(embedded_server: DatabaseServer) -> Iterator[Flow]:
    yield from own_database(embedded_server)


def shares(connection: Connection, steps: list[tuple[str, int]], names: list[str], limit: int) -> dict[str, int]:
    """How many of these steps, by namespace and age, a claim would take in each namespace."""
    connection.execute(_STEPS, [[name for name, _ in steps], [age for _, age in steps]])
    query = "SELECT namespace, share FROM tasker.oldest_shares_v1(%s, %s, now())"
    return dict(connection.execute(query, [names, limit]).fetchall())


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from("abcd"), st.integers(-3, 40)), max_size=40),
    st.sampled_from(["ab", "abc", "abcd"]),
    st.integers(1, 12),
)
def test_what_a_claim_takes_is_the_oldest_of_all_namespaces(flow: Flow, steps, names, limit):
    with flow.pool.connection() as connection, connection.transaction(force_rollback=True):
        taken = shares(connection, steps, list(names), limit)

    due = {name: sorted((age for own, age in steps if own == name and age >= 0), reverse=True) for name in names}
    oldest = sorted((age for ages in due.values() for age in ages), reverse=True)[:limit]
    assert sorted((age for name, share in taken.items() for age in due[name][:share]), reverse=True) == oldest


def test_more_is_read_only_of_the_namespaces_that_have_more(flow: Flow):
    """Two in each of 200 namespaces, and a hundred older ones in one: 50 are taken, of that one."""
    steps = [(name, 10) for name in _NAMES for _ in range(2)] + [("n7", age) for age in range(100, 200)]
    with connect(flow.url, application_name="tests") as connection, connection.transaction(force_rollback=True):
        assert shares(connection, steps, _NAMES, 50) == {"n7": 50}


def test_a_look_at_many_namespaces_reads_a_few_steps_of_each(flow: Flow):
    steps = [(name, turn * len(_NAMES) + number) for turn in range(1, 50) for number, name in enumerate(_NAMES)]
    with connect(flow.url, application_name="tests") as connection, connection.transaction(force_rollback=True):
        worker = Worker(flow, namespaces=_NAMES)
        connection.execute(_STEPS, [[name for name, _ in steps], [age for _, age in steps]])
        with reading(connection, most_rows=600):
            connection.execute(_CLAIM, [worker.worker_id, _NAMES, 50])


def test_templates_are_read_by_their_numbers_and_one_that_is_not_there_is_named(flow: Flow):
    known = {flow.register({"only": []}, name=name).template_id: name for name in ("one", "two")}
    with flow.pool.connection() as connection:
        assert {number: found.name for number, found in load_definitions(connection, known).items()} == known
        assert load_definitions(connection, []) == {}
        with pytest.raises(StartupError, match="template 987654 is not in the database"):
            load_definitions(connection, [*known, 987_654])
