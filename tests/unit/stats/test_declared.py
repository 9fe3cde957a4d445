"""Which label sets exist before anything happened, and that the lists of reasons are complete."""

import re
from pathlib import Path

from support.leases import event, leased

from tasker_actors.stats.declared import (
    FAILURES,
    HTTP_REFUSALS,
    REFUSAL_CODES,
    WORKER_DROPS,
    actor_label_sets,
    declared_label_sets,
    overflow_label_sets,
    slot_label_sets,
    supervisor_label_sets,
)
from tasker_actors.steps.failures import ErrorType
from tasker_actors.telemetry import metrics
from tasker_actors.telemetry.export_queue import DROP_REASONS
from tasker_actors.telemetry.metrics import TABLE, MetricKind

PACKAGE = Path(__file__).parents[3] / "tasker_actors"
PLAN = leased(publishes_events=[event("order.placed", "durable"), event("order.seen", "fast")]).plan

OF_A_SLOT = {metric for metric in TABLE if metric.labels == ("worker",)} | {metrics.DROPS}
OF_THE_SUPERVISOR = {metrics.HTTP_REFUSALS}


def test_every_metric_of_the_table_that_can_be_known_has_its_label_sets():
    others = (*overflow_label_sets(), *slot_label_sets(0), *actor_label_sets(["event_bus"]))
    declared = {metric for metric, _ in (*declared_label_sets([PLAN]), *others)}
    expected = {metric for metric in TABLE if metric.kind is not MetricKind.GAUGE and metric.counted_in is None}
    assert declared == expected - OF_A_SLOT - OF_THE_SUPERVISOR


def test_each_actor_is_declared_once_with_every_reason_for_a_restart():
    found = list(actor_label_sets(["event_bus", "tally", "event_bus"]))
    assert found == [
        (metrics.ACTORS_RESTARTS, (actor, reason))
        for actor in ("event_bus", "tally")
        for reason in ("error", "system", "memory", "exit")
    ]


def test_each_label_set_fits_its_metric_and_is_named_once():
    named = list(declared_label_sets([PLAN, PLAN]))
    assert all(len(labels) == len(metric.labels) for metric, labels in named)
    assert len(set(declared_label_sets([PLAN]))) == len(list(declared_label_sets([PLAN])))


def test_events_are_declared_under_their_mode_and_publisher():
    found = [labels for metric, labels in declared_label_sets([PLAN]) if metric is metrics.EVENTS_PUBLISHED]
    assert found == [
        ("shop", "order.placed", "durable", "default"),
        ("shop", "order.seen", "fast", "default"),
    ]


def test_what_is_timed_in_a_namespace_is_declared_under_success_and_failure():
    timed = [metric for metric in TABLE if metric.labels == ("namespace", "result")]
    declared = {pair for pair in declared_label_sets([PLAN]) if pair[0] in timed}
    assert declared == {(metric, ("shop", result)) for metric in timed for result in ("success", "failure")}


def test_a_supervisor_shows_what_it_loses_itself_beside_the_slots():
    found = list(supervisor_label_sets())
    assert [pair for pair in found if pair[0] not in (metrics.HTTP_REFUSALS, metrics.DROPS)] == [
        (metrics.SPANS_DROPPED, ("supervisor",)),
        (metrics.LOG_RECORDS_DROPPED, ("supervisor",)),
    ]
    reasons = [("spans", reason) for reason in DROP_REASONS] + [("log_records", reason) for reason in DROP_REASONS]
    reasons += [("links", reason) for reason in ("too_many", "too_large", "closed")] + [("stderr", "closed_or_full")]
    assert [labels for metric, labels in found if metric is metrics.DROPS] == [
        ("supervisor", *labels) for labels in reasons
    ]
    assert set(reasons) < set(WORKER_DROPS)


def test_the_reasons_of_the_ports_refusals_are_those_of_the_code():
    text = "\n".join(file.read_text(encoding="utf-8") for file in sorted((PACKAGE / "web").glob("*.py")))
    direct = re.findall(r'(?:refused|_refuse)\(\s*"([a-z_0-9]+)"', text)
    by_timer = re.findall(r'self\._refuse, "([a-z_]+)"', text)
    by_code = re.findall(r'_refused\(\s*HTTPStatus\.\w+, "([a-z_]+)"', text)
    chosen = re.findall(r'_refuse\("([a-z_]+)" if \w+ else "([a-z_]+)"\)', text)
    assert {*direct, *by_timer, *by_code, *(code for pair in chosen for code in pair)} == set(HTTP_REFUSALS)


def test_the_runtimes_own_error_types_are_all_there():
    assert {name for name, _ in FAILURES} == {each.value for each in ErrorType} | {"worker_lost"}


def test_the_codes_of_refusals_are_those_of_the_code():
    sources = [
        *sorted((PACKAGE / "events").glob("*.py")),
        *sorted((PACKAGE / "delivery").glob("*.py")),
        PACKAGE / "stats" / "recorder.py",
    ]
    text = "\n".join(source.read_text(encoding="utf-8") for source in sources)
    written = set(re.findall(r'(?:refuse|refuse_name|PayloadError|_Fault)\(\s*"([a-z_]+)"|code="([a-z_]+)"', text))
    codes = {code for pair in written for code in pair if code}
    assert codes | {"bus_refused"} == set(REFUSAL_CODES)
