"""Work on its way through a real database: templates, tasks, and workers that claim and commit as ours do."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import psycopg
from psycopg import Connection, sql
from psycopg.rows import dict_row
from support.leases import DONE, MIB, SHOP, EveryHandlerBut, finish, plans_of, template
from support.servers import DatabaseServer
from support.stored_work import new_worker, task_row
from support.waiting import until

from tasker_actors.delivery.batch import batch_json
from tasker_actors.delivery.commit_spans import CommitSpans
from tasker_actors.delivery.committer import CommitReply
from tasker_actors.delivery.routing import commit_item
from tasker_actors.events.publisher import BasePublisher
from tasker_actors.messages import CommitItem
from tasker_actors.postgres.claims import PostgresClaimer
from tasker_actors.postgres.commits import PostgresCommitter
from tasker_actors.postgres.connect import connect, open_pool
from tasker_actors.postgres.outages import Session, Trouble
from tasker_actors.postgres.session import Pool
from tasker_actors.postgres.tasks import Cancellation, cancel_task, create_tasks
from tasker_actors.postgres.templates import ensure_event_queues, register_template
from tasker_actors.steps.finished import FinishedStep
from tasker_actors.steps.lease import LeasedStep
from tasker_actors.steps.plans import StepPlans
from tasker_actors.supervision.settled_spans import settled_spans
from tasker_actors.supervision.settlement import Settlement
from tasker_actors.telemetry.logging import get_logger
from tasker_actors.workflow.outcome import StepOutcome
from tasker_actors.workflow.registered import RegisteredTemplate
from tasker_actors.workflow.task_planning import NewTaskRow

CHAIN = {"first": [], "second": ["first"], "third": ["second"]}
DIAMOND = {"top": [], "left": ["top"], "right": ["top"], "bottom": ["left", "right"]}

_EMPTY = """
DELETE FROM tasker.tasks; DELETE FROM tasker.steps; DELETE FROM tasker.step_attempts;
DELETE FROM tasker.templates; DELETE FROM tasker.workers; DELETE FROM tasker.step_audits; DELETE FROM tasker.tasks_dlq;
DELETE FROM tasker.schedules;
DELETE FROM tasker.limits; DELETE FROM tasker.limit_openings; DELETE FROM tasker.limit_starts;
DELETE FROM tasker.waits
"""


class Flow:
    """One database with what a supervisor does to it."""

    def __init__(self, url: str, pool: Pool) -> None:
        self.url = url
        self.pool = pool
        self.workers: list[Worker] = []
        self.traced: list[CommitSpans] = []

    def emptied(self) -> Iterator[Flow]:
        """Yield this database without any work in it: the body of a fixture for one test."""
        with self.pool.connection() as connection:
            connection.execute(_EMPTY)
            for (queue,) in connection.execute("SELECT queue_name FROM pgmq.list_queues()").fetchall():
                connection.execute("SELECT pgmq.drop_queue(%s)", [queue])
        yield self
        self.close()

    def close(self) -> None:
        """Close what workers of this database left open."""
        for worker in self.workers:
            worker.close()
        self.workers.clear()
        self.traced.clear()

    def register(self, graph: Mapping[str, Sequence[str]], **keys: Any) -> RegisteredTemplate:
        """Register a template made by `template`, with its queues."""
        with self.pool.connection() as connection:
            return register_template(connection, template(graph, **keys), accept_changed_content=False)[0]

    def create(self, registered: RegisteredTemplate, count: int = 1, **columns: Any) -> list[NewTaskRow]:
        """Create tasks of a template in one transaction."""
        rows = [task_row(registered, **columns) for _ in range(count)]
        create_tasks(self.pool, rows)
        return rows

    def cancel(self, task_uuid: str) -> Cancellation:
        """Cancel a task as the API does."""
        cancellation = cancel_task(self.pool, task_uuid)
        assert cancellation is not None
        return cancellation

    def settlement(self, publishers: Mapping[str, BasePublisher] | None = None) -> Settlement:
        """Make what the supervisor settles dead workers with."""
        return Settlement(
            self.pool,
            plans_of(publishers),
            max_payload_bytes=MIB,
            trace=lambda settled, finished: self.traced.append(settled_spans(settled, finished)),
            uniform=lambda: 0.5,
        )

    def rows(self, query: str, *parameters: Any) -> list[dict[str, Any]]:
        """Read rows as dicts."""
        with self.pool.connection() as connection, connection.cursor(row_factory=dict_row) as cursor:
            return cursor.execute(query, parameters).fetchall()

    def task(self, task_uuid: str) -> dict[str, Any]:
        """Read a task's row."""
        return self.rows("SELECT * FROM tasker.tasks WHERE task_uuid = %s", task_uuid)[0]

    def steps(self, task_uuid: str) -> dict[str, dict[str, Any]]:
        """Read a task's steps by name."""
        found = self.rows("SELECT * FROM tasker.steps WHERE task_uuid = %s ORDER BY position", task_uuid)
        return {row["name"]: row for row in found}

    def states(self, task_uuid: str) -> dict[str, str]:
        """Read the states of a task's steps by name."""
        return {name: row["state"] for name, row in self.steps(task_uuid).items()}

    def attempts(self, task_uuid: str) -> list[tuple[int, int, str]]:
        """Read a task's attempts in the order of their leases: position, attempt, outcome."""
        found = self.rows(
            "SELECT position, attempt, outcome FROM tasker.step_attempts WHERE task_uuid = %s ORDER BY token", task_uuid
        )
        return [(row["position"], row["attempt"], row["outcome"]) for row in found]

    def queue(self, name: str = f"{SHOP}_domain_events") -> list[dict[str, Any]]:
        """Read a queue in order: msg_id, message, headers."""
        table = sql.Identifier("pgmq", f"q_{name}")
        query = sql.SQL("SELECT msg_id, message, headers FROM {} ORDER BY msg_id").format(table)
        with self.pool.connection() as connection, connection.cursor(row_factory=dict_row) as cursor:
            return cursor.execute(query).fetchall()

    @contextmanager
    def in_flight(self, statement: str, *parameters: Any) -> Iterator[Connection[Any]]:
        """Run a statement in a transaction that ends with the block: committed, unless the block rolled it back."""
        with connect(self.url, application_name="in flight", autocommit=False) as connection:
            connection.execute(statement, parameters)
            yield connection
            connection.commit()

    def wait_until_blocked(self, sessions: int = 1) -> None:
        """Wait until so many sessions of this database wait for a lock."""
        query = (
            "SELECT count(*) AS n FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
        )
        until(lambda: self.rows(query)[0]["n"] >= sessions)

    def counts(self, worker_id: int) -> dict[tuple[str, str], tuple[int, int]]:
        """Read what a worker has committed: (event, mode) → (published, failed)."""
        found = self.rows("SELECT * FROM tasker.worker_counts WHERE worker_id = %s", worker_id)
        return {(row["event_name"], row["delivery_mode"]): (row["published"], row["failed"]) for row in found}


def by_name(steps: Iterable[LeasedStep]) -> dict[str, LeasedStep]:
    """Leased steps by their names, where these differ."""
    return {step.plan.name: step for step in steps}


def own_database(server: DatabaseServer) -> Iterator[Flow]:
    """Yield a new migrated database: the body of a fixture for all tests of a file, beside one of `Flow.emptied`.

    Its commits do not wait for the disk: no test of these stops the server.
    """
    with server.database(migrated=True) as url:
        with connect(url, application_name="tests") as connection:
            name = sql.Identifier(connection.info.dbname)
            connection.execute(sql.SQL("ALTER DATABASE {} SET synchronous_commit = off").format(name))
        with open_pool(url, application_name="tests", max_size=8) as pool:
            yield Flow(url, pool)


class RecordedSession(Session):
    """A session that tries again at once and remembers what went wrong."""

    def __init__(self, connector: Callable[[], Connection[Any]]) -> None:
        super().__init__(connector, backoff_ms=1, backoff_max_ms=20)
        self.errors: list[psycopg.Error] = []

    def failed(self, error: psycopg.Error) -> Trouble:
        """Take note of an error."""
        self.errors.append(error)
        return super().failed(error)


class Worker:
    """A worker's side of the database with the real claimer and committer, one connection each; for one thread."""

    def __init__(
        self,
        flow: Flow,
        *,
        url: str | None = None,
        namespaces: Sequence[str] = (SHOP,),
        lease_ms: int = 30_000,
        publishers: Mapping[str, BasePublisher] | None = None,
        lacks: Collection[str] = (),
    ) -> None:
        self.worker_id = new_worker(flow.pool)
        self.plans = StepPlans(EveryHandlerBut(lacks, publishers or {}), handler_timeout_ms=30_000)
        self.lease_ms = lease_ms
        self.seq = 0
        self.claims = RecordedSession(partial(connect, url or flow.url, application_name="test claim"))
        self.commits = RecordedSession(partial(connect, url or flow.url, application_name="test commit"))
        flow.workers.append(self)
        self.claimer = PostgresClaimer(
            self.claims,
            worker_id=self.worker_id,
            namespaces=namespaces,
            plans=self.plans,
            lease_ms=lease_ms,
            new_plans=lambda _template_id: None,
            logger=get_logger("tests"),
        )
        self.committer = PostgresCommitter(
            self.commits,
            repair_queues=partial(self._repair_queues, namespaces),
            logger=get_logger("tests"),
        )

    def _repair_queues(self, namespaces: Sequence[str]) -> None:
        for namespace in namespaces:
            ensure_event_queues(self.commits.connection(), namespace)

    def claim(self, limit: int = 100, max_bytes: int = MIB) -> list[LeasedStep]:
        """Lease steps that can run."""
        claimed = self.claimer.claim(limit, max_bytes)
        assert claimed is not None, "the database did not answer a claim"
        return list(claimed.steps)

    def batch(self, *entries: FinishedStep | CommitItem, places: int = 0, seq: int | None = None) -> bytes:
        """Make the next batch of results and returned steps."""
        items = [commit_item(entry) if isinstance(entry, FinishedStep) else entry for entry in entries]
        return batch_json(
            items,
            worker_id=self.worker_id,
            seq=self.seq + 1 if seq is None else seq,
            lease_ms=self.lease_ms,
            places=places,
            max_continued_bytes=MIB,
        )

    def commit(self, *entries: FinishedStep | CommitItem, places: int = 0) -> CommitReply:
        """Commit results and returned steps in one batch."""
        reply = self.committer.commit(self.batch(*entries, places=places))
        self.seq += 1
        return reply

    def run(self, outcome: StepOutcome = DONE) -> int:
        """Claim and commit with the same outcome until nothing can run now; returns how many steps that were."""
        count = 0
        while steps := self.claim():
            self.commit(*(finish(step, outcome) for step in steps))
            count += len(steps)
        return count

    def claim_all(self) -> list[LeasedStep]:
        """Claim as long as the database says that there is more."""
        steps: list[LeasedStep] = []
        more = True
        while more:
            claimed = self.claimer.claim(100, MIB)
            assert claimed is not None, "the database did not answer a claim"
            steps.extend(claimed.steps)
            more = claimed.more
        return steps

    def continued(self, reply: CommitReply, step: LeasedStep) -> list[LeasedStep]:
        """Make leased steps of a reply's continuation, for steps of the same task as `step`."""
        return [self.plans.lease(row, step.task) for row in reply.steps]

    def close(self) -> None:
        """Close both connections."""
        self.claims.close()
        self.commits.close()
