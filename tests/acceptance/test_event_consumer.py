"""A task's trace goes on in another application: from the HTTP caller over the worker to the consumer's own spans."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest
from opentelemetry import trace
from support.exported_spans import exported_spans
from support.project import Project
from support.supervised import environment, supervised
from support.waiting import until

from tasker_actors import EventConsumer, ReceivedEvent
from tasker_actors.telemetry.trace_context import new_trace, parse_traceparent

APPLICATION = """
import signal, sys
from tasker_actors import EventConsumer

def handle(received):
    print(received.event.event_name, flush=True)

with EventConsumer(sys.argv[1], "shop", poll_interval_s=60) as consumer:
    signal.signal(signal.SIGTERM, lambda *_: consumer.stop())
    consumer.run(handle)
print("stopped", flush=True)
"""


@pytest.fixture
def project(tmp_path: Path) -> Project:
    project = Project(tmp_path / "project")
    code = "from tasker_actors import step_handler\n@step_handler('go')\ndef go():\n    return {'n': 1}\n"
    project.module("shop_handlers", code)
    project.template("order", {"a": {"handler": "go", "publishes_events": [{"name": "order.done"}]}}, namespace="shop")
    return project


def test_a_callers_trace_reaches_the_consumer(project: Project, database_url: str) -> None:
    caller = new_trace(sampled=True)
    seen: list[ReceivedEvent] = []
    with supervised(project, database_url) as one, exported_spans() as spans:
        answer = one.http.post(
            "/v1/tasks",
            json={"name": "order", "namespace": "shop", "context": {}},
            headers={"traceparent": caller.traceparent},
        )
        task = one.wait(answer.json()["task_uuid"], "complete")

        EventConsumer(database_url, "shop").run(seen.append, until_empty=True)

        (received,) = seen
        span = spans.one("process shop_domain_events")
        publisher = parse_traceparent(received.headers["traceparent"])
        assert publisher is not None
        assert span.parent is not None
        assert trace.format_trace_id(span.context.trace_id) == publisher.trace_id == caller.trace_id
        assert trace.format_span_id(span.parent.span_id) == publisher.span_id
        assert span.attributes is not None
        assert span.attributes["correlation_id"] == task["correlation_id"]
        assert span.attributes["task_uuid"] == task["task_uuid"]
        assert span.attributes["step_name"] == "a"
        assert one.stop() == 0, one.last_words()


def test_an_application_ends_its_consumer_with_a_signal(project: Project, database_url: str, tmp_path: Path) -> None:
    printed = tmp_path / "printed"
    with supervised(project, database_url) as one:
        one.run("order", namespace="shop")
        with printed.open("wb") as output:
            process = subprocess.Popen(
                [sys.executable, "-c", APPLICATION, database_url], env=environment(), stdout=output
            )
        try:
            until(lambda: printed.read_text() == "order.done\n")
            process.send_signal(signal.SIGTERM)
            assert process.wait(30) == 0
        finally:
            process.kill()
            process.wait()
        assert printed.read_text() == "order.done\nstopped\n"
        assert one.rows("SELECT count(*) AS n FROM pgmq.a_shop_domain_events")[0]["n"] == 1
        assert one.stop() == 0, one.last_words()
