"""The worked example with telemetry on, by the one command that shows it, at a real collector (SPEC 4.2, 4.3)."""

from __future__ import annotations

import re
import subprocess
from collections import Counter, defaultdict
from pathlib import Path

import pytest
from support.example_figures import ATTEMPTS, check_counts
from support.figures import exported
from support.span_tree import ERROR, OF_TASK, PARENTS, PRODUCER, check_attributes, check_tree, parent_of
from support.traced_example import TIMEOUT_S, TracedExample, across_workers, saved_example, slots, traces

TRACE = Path(__file__).parents[2] / "scripts" / "trace"


@pytest.fixture(scope="module")
def example(tmp_path_factory: pytest.TempPathFactory) -> TracedExample:
    """Run it as a user does, by the one command that shows it."""
    received = tmp_path_factory.mktemp("example") / "received.json"
    ran = subprocess.run([TRACE, "--save", received], stdout=subprocess.PIPE, check=True, text=True, timeout=TIMEOUT_S)
    return saved_example(ran.stdout, received)


def test_the_command_that_shows_it_draws_one_task_s_tree_over_two_workers(example: TracedExample):
    """What is printed is the largest trace, span for span, each below its parent."""
    trace = across_workers(example.spans)
    root, *lines = example.output[example.output.rindex("\ntask_execution ") + 1 :].splitlines()
    above = ["task_execution"]
    edges: Counter[tuple[str, str]] = Counter()
    for line in lines:
        drawn = re.fullmatch(r"((?:│   |    )*)[├└]── (\w+) .*", line)
        assert drawn is not None, line
        above[len(drawn[1]) // 4 + 1 :] = [drawn[2]]
        edges[drawn[2], above[-2]] += 1
    assert edges == Counter((span.name, parent_of(trace, span)) for span in trace if span.parent_id)
    assert set(edges) == set(PARENTS.items())
    assert all(f"{key}={trace[0].attributes[key]}" in root for key in OF_TASK)
    run = {
        (found[1], found[2]) for found in re.finditer(r"step_execution (\w+) .* worker\.slot=(\d)", "\n".join(lines))
    }
    assert len(run) == len({step for step, _ in run}) == 4
    assert {slot for _, slot in run} == {"0", "1"}


def test_every_metric_of_the_example_reaches_the_collector_with_the_right_value(example: TracedExample):
    check_counts(exported(example.points))


def test_every_span_of_the_example_says_what_its_kind_says(example: TracedExample):
    for span in example.spans:
        check_attributes(span, "flights_domain_events")
    events = [span for span in example.spans if span.name == "publish_domain_event"]
    assert Counter((span.attributes["event_name"], span.attributes["delivery_mode"]) for span in events) == {
        ("flight.validated", "fast"): 458,
        ("flight.cancelled", "durable"): 472,
        ("weather.observed", "fast"): 458,
        ("flight.departed", "durable"): 458,
        ("flight.delayed", "broadcast"): 125,
    }


def test_every_task_of_the_example_is_one_whole_trace(example: TracedExample):
    found = traces(example.spans)
    assert len(found) == 930
    for trace in found.values():
        check_tree(trace)


def test_the_example_s_spans_are_as_many_as_what_happened(example: TracedExample):
    assert Counter(span.name for span in example.spans) == {
        "task_execution": 930,
        "step_execution": ATTEMPTS,
        "handler_call": ATTEMPTS,
        "result_submission": ATTEMPTS,
        "publish_domain_event": 1971,
        "route_event": 1971,
        "record_metrics": 1971,
        "publish_durable": 930 + 125,
        "publish_fast": 916 + 125,
    }
    assert sum(span.status == ERROR for span in example.spans if span.name == "task_execution") == 472


def test_a_trace_goes_over_several_workers_and_its_times_are_in_the_order_of_the_steps(example: TracedExample):
    trace = across_workers(example.spans)
    assert slots(trace) == {0, 1}
    steps = {span.attributes["step_name"]: span for span in trace if span.name == "step_execution"}
    assert set(steps) == {"validate_flight", "fetch_weather", "lookup_aircraft", "assess_delay"}
    for earlier, later in (("validate_flight", "fetch_weather"), ("lookup_aircraft", "assess_delay")):
        assert steps[earlier].start_ns < steps[later].start_ns


def test_spans_come_from_the_process_that_made_them(example: TracedExample):
    resources: dict[int, set[str]] = defaultdict(set)
    for span in example.spans:
        if span.name == "step_execution":
            assert span.resource["tasker.worker.slot"] == span.attributes["worker.slot"]
            resources[span.attributes["worker.slot"]].add(str(span.resource["service.instance.id"]))
    assert [len(resources[slot]) for slot in (0, 1)] == [1, 1]
    assert resources[0] != resources[1]


def test_a_durable_event_s_span_speaks_the_conventions_of_messaging(example: TracedExample):
    span = next(span for span in example.spans if span.name == "publish_durable")
    assert span.kind == PRODUCER
    assert span.attributes["messaging.system"] == "pgmq"
    assert span.attributes["messaging.destination.name"] == "flights_domain_events" == span.attributes["queue_name"]
    assert span.attributes["messaging.message.body.size"] == span.attributes["message_size"] > 0
