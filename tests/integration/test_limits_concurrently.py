"""Limits under many connections that claim and commit at once: never one too many, and nobody is forgotten."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterable

import orjson
import pytest
from support.flow import Flow, Worker
from support.leases import finish, returned
from support.waiting import until

from tasker_actors.postgres.connect import connect
from tasker_actors.postgres.session import session
from tasker_actors.postgres.workers import expire_leases
from tasker_actors.steps.lease import LeasedStep
from tasker_actors.workflow.registered import RegisteredTemplate

WORKERS = 6
TASKS = 240
CUSTOMERS = 5
IN_ALL = 7
EACH = 2
LIMITS = [
    {"scope": "namespace", "max_concurrent": IN_ALL},
    {"scope": "context", "field": "customer", "max_concurrent": EACH},
]

# Written by the server itself at the end of each transaction that leased or let go: what others could see then.
_WITNESS = """
CREATE TABLE tasker.witness (key text NOT NULL, leases bigint NOT NULL);
CREATE FUNCTION tasker.bear_witness() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO tasker.witness
    SELECT k, (SELECT count(*) FROM tasker.steps s WHERE s.state = 'in_progress' AND k = ANY (s.limit_keys))
    FROM unnest(NEW.limit_keys) AS k;
    RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER bear_witness AFTER UPDATE OF state ON tasker.steps DEFERRABLE INITIALLY DEFERRED
FOR EACH ROW WHEN (NEW.state = 'in_progress') EXECUTE FUNCTION tasker.bear_witness();
"""
_NO_WITNESS = "DROP TRIGGER bear_witness ON tasker.steps; DROP FUNCTION tasker.bear_witness; DROP TABLE tasker.witness"


@pytest.fixture
def registered(flow: Flow) -> Iterable[RegisteredTemplate]:
    with flow.pool.connection() as connection:
        connection.execute(_WITNESS)
    yield flow.register({"first": [], "then": ["first"]}, shared_limits=LIMITS, retry={"backoff": "none"})
    with flow.pool.connection() as connection:
        connection.execute(_NO_WITNESS)


class Crew:
    """Workers in threads that count what they hold, from the reply of a claim until just before its commit."""

    def __init__(self, flow: Flow) -> None:
        self.flow = flow
        self.workers = [Worker(flow) for _ in range(WORKERS)]
        self.held: Counter[str] = Counter()
        self.most: Counter[str] = Counter()
        self.done: set[tuple[str, str]] = set()
        self.lock = threading.Lock()

    def work(self, number: int) -> None:
        """Claim and commit until every step is done; some steps are given back, some die with their worker."""
        worker = self.workers[number]
        turn = 0
        while len(self.done) < 2 * TASKS:
            turn += 1
            steps = worker.claim(4)
            self._count(steps, 1)
            self._count(steps, -1)
            if steps and turn % 7 == number:
                worker.commit(*(returned(step) for step in steps))
            elif steps and turn % 11 == number:
                self._expire(worker)
            elif steps:
                won = worker.commit(*(finish(step) for step in steps), places=number % 3).won
                with self.lock:
                    self.done |= {(step.task.task_uuid, step.name) for step in steps if step.token in won}

    def _count(self, steps: list[LeasedStep], sign: int) -> None:
        with self.lock:
            for step in steps:
                for key in ("all", str(orjson.loads(step.task.context)["customer"])):
                    self.held[key] += sign
                    self.most[key] = max(self.most[key], self.held[key])

    def _expire(self, worker: Worker) -> None:
        """What a worker that was killed leaves: leases that end by themselves."""
        with connect(self.flow.url, application_name="a kill") as connection:
            connection.execute(
                "UPDATE tasker.steps SET run_at = now() - interval '1 s'"
                " WHERE worker_id = %s AND state = 'in_progress'",
                [worker.worker_id],
            )
        with session(self.flow.pool) as connection:
            expire_leases(connection, grace_ms=0)


def test_no_key_ever_has_more_leases_than_its_limit_and_all_steps_run(flow: Flow, registered: RegisteredTemplate):
    for number in range(TASKS):
        flow.create(registered, context=orjson.dumps({"customer": number % CUSTOMERS}))
    crew = Crew(flow)
    threads = [threading.Thread(target=crew.work, args=(number,)) for number in range(WORKERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=100)

    assert len(crew.done) == 2 * TASKS
    assert {row["status"] for row in flow.rows("SELECT DISTINCT status FROM tasker.tasks")} == {"complete"}
    seen = flow.rows("SELECT key LIKE '%%:' AS in_all, max(leases) AS most FROM tasker.witness GROUP BY 1 ORDER BY 1")
    assert [(row["in_all"], row["most"]) for row in seen] == [(False, EACH), (True, IN_ALL)]
    assert crew.most["all"] <= IN_ALL
    assert all(crew.most[str(number)] <= EACH for number in range(CUSTOMERS))
    left = "SELECT count(*) AS n FROM tasker.steps WHERE parked_by IS NOT NULL"
    assert flow.rows(left) == [{"n": 0}]


def test_a_place_that_becomes_free_while_a_claim_parks_is_seen_by_the_next_claim(flow: Flow):
    """The claim counted before the commit, and parks after it: neither of the two can know of the other."""
    registered = flow.register({"only": []}, limits=[{"scope": "step", "max_concurrent": 1}])
    flow.create(registered)
    holder, late = Worker(flow), Worker(flow)
    (step,) = holder.claim()
    (row,) = flow.create(registered)
    with flow.in_flight("SELECT tasker.claim_steps_v1(%s, ARRAY['shop'], 5, 30000, 1000000)", late.worker_id):
        holder.commit(finish(step))  # does not wait for the claim
        found: list[LeasedStep] = []
        third = Worker(flow)
        thread = threading.Thread(target=lambda: found.extend(third.claim()))
        thread.start()
        flow.wait_until_blocked()  # the claim that took the opening waits for the one that parks
    thread.join(timeout=20)

    assert [step.task.task_uuid for step in found] == [row.task_uuid]


def test_claims_of_different_keys_do_not_wait_for_each_other(flow: Flow):
    registered = flow.register({"only": []}, limits=[{"scope": "context", "field": "customer", "max_concurrent": 1}])
    (one,) = flow.create(registered, context=b'{"customer": 1}')
    first, second = Worker(flow), Worker(flow)
    with flow.in_flight("SELECT tasker.claim_steps_v1(%s, ARRAY['shop'], 5, 30000, 1000000)", first.worker_id):
        (two,) = flow.create(registered, context=b'{"customer": 2}')

        assert [step.task.task_uuid for step in second.claim()] == [two.task_uuid]
    assert flow.states(one.task_uuid) == {"only": "in_progress"}


def test_a_claim_that_is_rolled_back_leaves_its_opening_to_others(flow: Flow):
    registered = flow.register({"only": []}, limits=[{"scope": "step", "max_concurrent": 1}])
    flow.create(registered, count=2)
    holder, broken = Worker(flow), Worker(flow)
    (step,) = holder.claim()
    holder.commit(finish(step))
    with flow.in_flight(
        "SELECT tasker.claim_steps_v1(%s, ARRAY['shop'], 5, 30000, 1000000)", broken.worker_id
    ) as connection:
        connection.rollback()

    until(lambda: len(Worker(flow).claim()) == 1)
