"""Tasks that nobody waits for any more, where the database does not answer who asks for them."""

from __future__ import annotations

from types import SimpleNamespace

from tasker_actors.postgres.connect import open_pool
from tasker_actors.settings import DatabaseSettings
from tasker_actors.web.children import cancel_children


def test_what_cannot_be_cancelled_now_is_no_error_of_the_request_that_ended_the_waiting_step():
    limits = DatabaseSettings(connect_timeout_ms=100)
    with open_pool("postgresql://nobody@127.0.0.1:1/x", application_name="tests", max_size=1, database=limits) as pool:
        cancelled = []

        cancel_children(SimpleNamespace(pool=pool, task_cancelled=cancelled.append))

    assert cancelled == []
