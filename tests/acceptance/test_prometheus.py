"""A real Prometheus scrapes a supervisor through work, failures and a worker's death (SPEC 4.3)."""

from __future__ import annotations

import json
import os
import re
import subprocess
import time

import pytest
from support import operators_files
from support.operators_files import Query
from support.project import Project
from support.prometheus import find_program, prometheus
from support.readme_tables import README, in_place
from support.supervised import kill, supervised
from support.waiting import until

from tasker_actors.telemetry.metrics import TABLE, MetricKind

HANDLERS = """
import os
import threading
from pathlib import Path
from tasker_actors import PermanentError, RetryableError, step_handler, subscriber

@step_handler("watched")
def watched(context):
    gate = context.get_input("gate")
    closed = threading.Event()
    while gate is not None and not Path(gate).exists():
        closed.wait(0.01)
    # No worker is to be done with everything alone.
    if (seen_by := context.get_input("seen_by")) is not None:
        Path(seen_by, str(os.getpid())).touch()
        while len(list(Path(seen_by).iterdir())) < 2:
            closed.wait(0.01)
    fail = context.get_input("fail")
    if fail == "permanent":
        raise PermanentError("no")
    if fail == "retryable" and not context.is_retry():
        raise RetryableError("again")
    return {"amount": "a lot"} if fail == "schema" else {"amount": 1}

@subscriber("watched.*")
def on_watched(event):
    if event.event_name == "watched.broadcast":
        raise ValueError("this subscriber does not like it")
"""

AMOUNT = {"type": "object", "required": ["amount"], "properties": {"amount": {"type": "integer"}}}
MODES = ("durable", "fast", "broadcast")
NAMESPACES = ("shop", "bank")

GOOD, REFUSED = 100, 10
CONCURRENCY = 4

PUBLISHED = "tasker_domain_events_published_total"
FAILED = "tasker_domain_events_failed_total"
DURATION = "tasker_domain_events_publish_duration_milliseconds"


@pytest.fixture(scope="module")
def one(tmp_path_factory, embedded_server):
    find_program("prometheus")
    project = Project(tmp_path_factory.mktemp("prometheus") / "project")
    project.module("watched_handlers", HANDLERS)
    events = [{"name": f"watched.{mode}", "delivery_mode": mode, "schema": AMOUNT} for mode in MODES]
    step = {"publishes_events": events, "retry": {"max_attempts": 2, "backoff": "none"}, "timeout_seconds": 100}
    for namespace in NAMESPACES:
        project.template("job", {"watched": step}, namespace=namespace)
    with embedded_server.database(migrated=True) as url, supervised(project, url, concurrency=CONCURRENCY) as found:
        yield found


@pytest.fixture(scope="module")
def server(one, tmp_path_factory):
    """A Prometheus that has seen the system idle, all of the work, and a worker killed in the middle of it."""
    target = one.url.removeprefix("http://")
    home = tmp_path_factory.mktemp("server")
    with prometheus(target, home) as found:
        until(lambda: len(found.query(f"count_over_time({PUBLISHED}[5m]) > 1")) == len(NAMESPACES) * len(MODES))
        gate, seen_by = home / "open", home / "workers"
        seen_by.mkdir()
        for _ in range(CONCURRENCY - 1):  # one place stays free, should a single worker have all of these
            one.create("job", namespace="shop", context={"gate": str(gate)})
        for namespace, share in zip(NAMESPACES, (1, 2), strict=True):
            for fail in ("permanent", "retryable"):
                one.create("job", namespace=namespace, context={"fail": fail})
            one.create_many("job", REFUSED * share, namespace=namespace, context={"fail": "schema"})
            one.create_many("job", GOOD * share, namespace=namespace, context={"seen_by": str(seen_by)})
        until(lambda: bool(found.value("min(router_routed_total)")))
        kill(min(one.worker_pids()))
        assert unfinished(one) > 0
        gate.touch()
        until(lambda: unfinished(one) == 0, 60)
        one.wait_workers(lambda workers: set(workers) == {0, 1})
        # Two more scrapes, so that every series that came up late has a rate.
        seen = scrapes(found)
        until(lambda: scrapes(found) >= seen + 3)
        yield found


def unfinished(one):
    return one.rows("SELECT count(*) FROM tasker.tasks WHERE completed_at IS NULL")[0]["count"]


def scrapes(server):
    """How often the supervisor was scraped so far."""
    return server.value('sum(count_over_time(up{job="tasker_actors"}[1h]))') or 0


def risen(server, selector):
    """How much each series of a selector rose from its first sample to its last, by its labels."""
    found = server.query(f"{selector}[5m]")
    return {frozenset(series.labels.items()): series.values[-1] - series.values[0] for series in found}


def total(rises, **labels):
    wanted = set(labels.items())
    return sum(rise for found, rise in rises.items() if wanted <= found)


def test_the_configuration_works_as_it_is_apart_from_address_and_interval(server):
    [target] = server.targets()
    assert (target["health"], target["lastError"]) == ("up", "")
    assert target["labels"]["job"] == "tasker_actors"
    until(lambda: all(rule["health"] == "ok" for rule in server.rules()))
    assert len(server.rules()) == len(operators_files.rule_queries())


def test_alerts_name_what_failed_in_this_work(server):
    wanted = {"TaskerPublicationsFail", "TaskerDeadLettersGrow"}
    until(lambda: wanted <= server.alerts().keys())
    found = server.alerts()
    assert not {"TaskerSupervisorDown", "TaskerSupervisorsAbsent", "TaskerNoWorkers"} & found.keys()
    for alert in found.values():
        assert "error expanding template" not in str(alert["annotations"])
    for name in wanted:
        assert any(namespace in found[name]["annotations"]["summary"] for namespace in NAMESPACES)


def test_what_prometheus_has_is_what_the_queues_and_the_counters_say(one, server):
    router = one.event_stats()["router"]
    committed = dict.fromkeys(MODES, 0)
    for namespace in NAMESPACES:
        queue = [row["message"]["event_name"] for row in one.queue(f"{namespace}_domain_events")]
        letters = one.queue(f"{namespace}_domain_events_dlq")
        for mode in ("durable", "broadcast"):
            published = f'sum({PUBLISHED}{{namespace="{namespace}", delivery_mode="{mode}"}})'
            assert server.value(published) == queue.count(f"watched.{mode}")
            committed[mode] += queue.count(f"watched.{mode}")
        assert server.value(f'sum({FAILED}{{namespace="{namespace}"}})') == len(letters)
    for mode in MODES:
        assert server.value(f"sum(router_{mode}_routed_total)") == router[f"{mode}_routed"]
        assert mode == "fast" or router[f"{mode}_routed"] == committed[mode]
    assert server.value("sum(router_routing_errors_total)") == router["routing_errors"]
    assert server.value("sum(router_routed_total)") == router["total_routed"]
    assert server.value("sum(tasker_workers_alive)") == 2
    assert server.value('sum(tasker_workers_restarts_total{reason="signal"})') == 1


def test_the_rate_by_namespace_is_that_of_what_was_published(server):
    rates = server.by("namespace", f"sum by (namespace) (rate({PUBLISHED}[5m]))")

    rises = risen(server, PUBLISHED)
    assert set(rates) == set(NAMESPACES)
    for namespace, rate in rates.items():
        rise = total(rises, namespace=namespace)
        assert rise > GOOD
        # A rate is per second of the window; Prometheus adds up to one scrape interval at its ends.
        assert rise <= rate * 300 * 1.001 <= rise * 1.5


def test_the_failure_ratio_is_that_of_the_dead_letters(server):
    ratios = server.query(f"rate({FAILED}[5m]) / rate({PUBLISHED}[5m])")

    failed, published = risen(server, FAILED), risen(server, PUBLISHED)
    assert len(ratios) == len(NAMESPACES) * len(MODES)
    for series in ratios:
        wanted = total(failed, **series.labels) / total(published, **series.labels)
        assert series.value == pytest.approx(wanted)
        assert series.value > 0


@pytest.mark.parametrize("by", [(), ("delivery_mode",)])
def test_the_latency_is_that_of_95_of_100_publications(server, by):
    found = server.query(f"histogram_quantile(0.95, sum by ({', '.join((*by, 'le'))}) (rate({DURATION}_bucket[5m])))")

    rises = risen(server, f"{DURATION}_bucket")
    assert len(found) == (len(MODES) if by else 1)
    for series in found:
        # A little apart, for a rank that is the last of its bucket.
        lower, _ = bucket_of(0.95 - 1e-6, rises, series.labels)
        _, upper = bucket_of(0.95 + 1e-6, rises, series.labels)
        assert lower <= series.value <= upper


def bucket_of(share, rises, labels):
    """The bounds of the bucket that holds the publication at this share of all, by their duration."""
    bounds = sorted({float(dict(found)["le"]) for found in rises})
    names = {float(dict(found)["le"]): dict(found)["le"] for found in rises}
    counts = [total(rises, le=names[bound], **labels) for bound in bounds]
    assert counts[-1] > 0
    place = next(index for index, count in enumerate(counts) if count >= share * counts[-1])
    return bounds[place - 1] if place else 0.0, bounds[place]


def test_no_counter_was_ever_reset(server):
    for metric in TABLE:
        if metric.kind is MetricKind.GAUGE or metric.counted_in is not None:
            continue
        ends = ("_bucket", "_count", "_sum") if metric.kind is MetricKind.HISTOGRAM else ("",)
        for end in ends:
            assert server.value(f"max(resets({metric.prometheus_name}{end}[1h]))") in (0, None), metric.prometheus_name
    assert server.value(f"max(resets({PUBLISHED}[1h]))") == 0


@pytest.mark.parametrize(
    "query",
    [*operators_files.panel_queries(), *operators_files.variable_queries()],
    ids=lambda query: query.place,
)
def test_every_query_of_the_dashboard_returns_series(server, query):
    returns_series(server, query.filled("5m"))


@pytest.mark.parametrize(
    "query",
    [
        *(Query(rule["record"], rule["record"]) for rule in operators_files.recordings()),
        *(operators_files.measured(alert) for alert in operators_files.alerts()),
    ],
    ids=lambda query: query.place,
)
def test_every_recorded_figure_and_what_every_alert_measures_has_series(server, query):
    returns_series(server, query)


@pytest.mark.parametrize("expression", in_place(README.read_text(), "queries").splitlines()[1:-1])
def test_every_query_of_readme_returns_series(server, expression):
    returns_series(server, Query("README", expression))


def test_readme_finds_no_event_with_another_correlation_id(one, server):
    statement = re.search(r"^SELECT.*;$", in_place(README.read_text(), "correlation"), re.M | re.S)[0]
    for namespace in NAMESPACES:
        assert one.rows(statement.replace("q_hello_", f"q_{namespace}_")) == []
    one.rows("UPDATE tasker.tasks SET correlation_id = gen_random_uuid() WHERE namespace = 'shop' RETURNING 1")
    assert one.rows(statement.replace("q_hello_", "q_shop_"))


@pytest.mark.parametrize(
    ("number", "found"),
    [(0, "Console-only logging initialized (FFI-safe mode)"), (1, "Creating event router for dual-path delivery")],
)
def test_the_searches_of_readme_find_lines_in_a_log(one, number, found):
    search = re.findall(r"^grep .* tasker\.log$", README.read_text(), re.M)[number]
    command = search.replace("tasker.log", str(one.log))
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, timeout=60, check=False)
    assert {json.loads(line)["pid"] for line in done.stdout.splitlines() if found in line} >= one.worker_pids()


def returns_series(server, query):
    """Bars are shown where something happened: there it is the expression before `> 0` that has series."""
    assert server.query(query.expression.removesuffix(" > 0")), query


def test_the_trace_of_a_sampled_task_is_found_beside_what_it_counted(one, server):
    since = time.time()
    trace_id = os.urandom(16).hex()
    task = {"namespace": "shop", "name": "job", "context": {}}
    answer = one.http.post("/v1/tasks", json=task, headers={"traceparent": f"00-{trace_id}-{os.urandom(8).hex()}-01"})
    one.wait(answer.json()["task_uuid"], "complete")

    def found():
        return {
            series["seriesLabels"]["__name__"]
            for series in server.exemplars('{namespace="shop"}', since, time.time() + 60)
            if any(exemplar["labels"]["trace_id"] == trace_id for exemplar in series["exemplars"])
        }

    # Only the OpenMetrics format has exemplars: Prometheus asks for it, and gets it.
    until(lambda: {PUBLISHED, f"{DURATION}_bucket", "tasker_step_execution_duration_milliseconds_bucket"} <= found())


def test_promtool_finds_nothing_but_the_unit_of_the_names_that_were_given(one):
    program = find_program("promtool")
    text = one.http.get("/metrics").text
    done = subprocess.run(
        [program, "check", "metrics"], input=text, capture_output=True, text=True, timeout=60, check=False
    )
    notices = [line.split(" ", 1) for line in (done.stdout + done.stderr).splitlines()]
    assert all(name.endswith("_milliseconds") for name, _ in notices), notices
    assert {notice for _, notice in notices} == {'use base unit "seconds" instead of "milliseconds"'}
    assert done.returncode == 3
