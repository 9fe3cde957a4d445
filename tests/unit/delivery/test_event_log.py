"""The lines about events that people grep for, each under the ids of what it is about (SPEC 2 rule 2, 4.4)."""

from __future__ import annotations

from typing import Any

import pytest
from support.exporting import Lines
from support.leases import event, finish, leased, sampled_task

from tasker_actors.delivery.event_log import EventLog
from tasker_actors.steps.finished import FinishedStep
from tasker_actors.telemetry.logging import LineSampler, get_logger


def event_log(rate: float = 1.0) -> EventLog:
    return EventLog(get_logger("tests"), publishing=LineSampler(rate), published=LineSampler(rate))


def told(lines: Lines, sentence: str) -> list[dict[str, Any]]:
    """Return the lines with a sentence, without what every line has."""
    head = {"timestamp", "logger", "thread", "worker", "pid", "event"}
    return [
        {name: value for name, value in line.items() if name not in head}
        for line in lines.lines()
        if line["event"] == sentence
    ]


def ids(step: FinishedStep) -> dict[str, str]:
    trace = step.step.trace
    return {"correlation_id": step.correlation_id, "trace_id": trace.trace_id, "span_id": trace.span_id}


@pytest.mark.parametrize(("mode", "queue"), [("durable", "shop_domain_events"), ("fast", None)])
def test_an_event_has_a_line_before_its_commit_and_one_after_it(lines: Lines, mode: str, queue: str | None):
    step = finish(leased(task=sampled_task(), publishes_events=[event("a.one", mode)]))
    (one,) = step.derived.events
    log, task_uuid = event_log(), step.step.task.task_uuid
    log.publishing(one, task_uuid, step)
    log.published(one, task_uuid, step)

    about = {**ids(step), "task_uuid": task_uuid, "event_id": one.event_id, "event_name": "a.one", "queue_name": queue}
    assert told(lines, "Publishing domain event") == [{"level": "debug", **about}]
    after = {"level": "info", **about, "namespace": "shop", "delivery_mode": mode}
    assert told(lines, "Domain event published successfully") == [after]


def test_a_share_of_the_lines_is_written_evenly(lines: Lines):
    step = finish(leased(publishes_events=[event("a.one")]))
    (one,) = step.derived.events
    log = event_log(0.25)
    for _ in range(8):
        log.publishing(one, None, step)
        log.published(one, None, step)

    assert len(told(lines, "Publishing domain event")) == len(told(lines, "Domain event published successfully")) == 2


def test_an_event_that_became_a_dead_letter_is_named_with_its_reason_whatever_the_share(lines: Lines):
    step = finish(leased(publishes_events=[event("a.one")]), max_payload_bytes=1)
    (refused,) = step.derived.refused
    event_log(0.0).refused(refused, step.step.task.task_uuid, step)

    (line,) = told(lines, "Domain event could not be published")
    assert (line["level"], line["code"], line["error"]) == ("warning", "too_large", refused.reason)
    assert (line["event_id"], line["event_name"]) == (refused.event_id, "a.one")
    assert (line["queue_name"], line["correlation_id"]) == ("shop_domain_events_dlq", step.correlation_id)
