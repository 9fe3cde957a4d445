"""Limits over several workers and supervisors, one of which is killed while it holds places."""

from __future__ import annotations

from support.project import Project
from support.supervised import Supervised, kill
from support.waiting import until

HANDLERS = """
import os
import threading

import psycopg

from tasker_actors import step_handler

@step_handler("call_bank")
def call_bank(context):
    with psycopg.connect(os.environ["RUNS_URL"], autocommit=True) as connection:
        values = (context.get_input("customer"), os.getpid())
        insert = "INSERT INTO runs (customer, pid) VALUES (%s, %s) RETURNING run"
        (run,) = connection.execute(insert, values).fetchone()
        threading.Event().wait(0.05)
        connection.execute("UPDATE runs SET ended = clock_timestamp() WHERE run = %s", (run,))
"""

RUNS = """
CREATE TABLE runs (
    run integer GENERATED ALWAYS AS IDENTITY, customer integer NOT NULL, pid integer NOT NULL,
    began timestamptz NOT NULL DEFAULT clock_timestamp(), ended timestamptz)
"""

# A run of the killed worker ended when it was killed; all others ended before their place was given to somebody else.
MOST = """
WITH spans AS (SELECT customer, began, coalesce(ended, %s::timestamptz) AS ended FROM runs)
SELECT max((SELECT count(*) FROM spans o WHERE o.began <= s.began AND s.began < o.ended)) AS in_all,
       max((SELECT count(*) FROM spans o
            WHERE o.customer = s.customer AND o.began <= s.began AND s.began < o.ended)) AS each
FROM spans s
"""

TASKS = 90
CUSTOMERS = 3


def test_limits_hold_over_all_workers_and_supervisors_and_a_killed_worker_keeps_no_place(tmp_path, embedded_server):
    project = Project(tmp_path / "project")
    project.module("bank_handlers", HANDLERS)
    limits = [{"scope": "context", "field": "customer", "max_concurrent": 2}]
    project.template(
        "payment",
        {"call_bank": {"limits": limits, "retry": {"max_attempts": 5, "backoff": "none"}}},
        namespace="bank",
        limits=[{"scope": "namespace", "max_concurrent": 5}],
    )
    with embedded_server.database(migrated=True) as url:
        both = [
            Supervised(project, url, workers=2, concurrency=4, log=f"{name}.log", variables={"RUNS_URL": url})
            for name in ("a", "b")
        ]
        try:
            one, _ = (supervisor.wait_ready() for supervisor in both)
            one.rows(f"SELECT 1; {RUNS}")
            tasks = [
                {"name": "payment", "namespace": "bank", "context": {"customer": n % CUSTOMERS}} for n in range(TASKS)
            ]
            assert one.http.post("/v1/tasks/batch", json={"tasks": tasks}).status_code == 201
            killed_at = kill_who_runs(one)
            until(
                lambda: one.rows("SELECT count(*) AS n FROM tasker.tasks WHERE completed_at IS NULL")[0]["n"] == 0, 90
            )

            assert one.rows("SELECT DISTINCT status FROM tasker.tasks") == [{"status": "complete"}]
            (most,) = one.rows(MOST, killed_at)
            assert most["in_all"] <= 5
            assert most["each"] <= 2
            assert len(one.rows("SELECT DISTINCT pid FROM runs")) > 1, "more than one worker took part"
            (bank, *_) = one.get("/v1/limits?namespace=bank")["limits"]
            assert (bank["name"], bank["in_use"], bank["parked"]) == ("concurrency", 0, 0)
        finally:
            for supervisor in both:
                supervisor.close()


def kill_who_runs(one: Supervised) -> str:
    """Kill a worker that is in the middle of a run; returns the moment before, by the server's clock."""

    pids: list[int] = []

    def found() -> bool:
        pids.extend(row["pid"] for row in one.rows("SELECT pid FROM runs WHERE ended IS NULL AND run > 10"))
        return bool(pids)

    until(found)
    (moment,) = one.rows("SELECT clock_timestamp()::text AS now")
    kill(pids[0])
    return str(moment["now"])
