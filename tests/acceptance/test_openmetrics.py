"""`GET /metrics` as OpenMetrics: what a sampled trace leaves behind in a scrape, through a worker's kill (SPEC 4.3)."""

from __future__ import annotations

import os
import time

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families
from support.project import Project
from support.supervised import kill, supervised
from support.waiting import until

HANDLERS = """
from tasker_actors import step_handler

@step_handler("traced")
def traced(context):
    return {}
"""

ACCEPT = {"accept": "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5,*/*;q=0.1"}

MARKED = {
    "tasker_steps_successes_total",
    "tasker_tasks_completions_total",
    "tasker_domain_events_published_total",
    "tasker_domain_events_publish_duration_milliseconds_bucket",
    "tasker_step_execution_duration_milliseconds_bucket",
    "tasker_step_result_submission_duration_milliseconds_bucket",
    "tasker_step_wait_duration_milliseconds_bucket",
}


@pytest.fixture(scope="module")
def one(tmp_path_factory, embedded_server):
    project = Project(tmp_path_factory.mktemp("openmetrics") / "project")
    project.module("traced_handlers", HANDLERS)
    project.template("job", {"traced": {"publishes_events": [{"name": "job.traced"}]}}, namespace="traces")
    with embedded_server.database(migrated=True) as url, supervised(project, url, workers=1) as found:
        yield found


def scrape(one):
    """Samples by name and labels, exemplars as their trace ids."""
    answer = one.http.get("/metrics", headers=ACCEPT)
    assert answer.headers["content-type"] == "application/openmetrics-text; version=1.0.0; charset=utf-8"
    return [(family, sample) for family in text_string_to_metric_families(answer.text) for sample in family.samples]


def run(one, *, sampled):
    """Run a task in a trace of its own and return the trace's id."""
    trace_id = os.urandom(16).hex()
    headers = {"traceparent": f"00-{trace_id}-{os.urandom(8).hex()}-0{int(sampled)}"}
    answer = one.http.post("/v1/tasks", json={"namespace": "traces", "name": "job", "context": {}}, headers=headers)
    assert answer.status_code == 201
    one.wait(answer.json()["task_uuid"], "complete")
    return trace_id


def marked(one, trace_id):
    return {
        sample.name: sample
        for _, sample in scrape(one)
        if sample.exemplar is not None and sample.exemplar.labels["trace_id"] == trace_id
    }


def beginnings(one):
    return {
        (sample.name, *sorted(sample.labels.items())): sample.value
        for _, sample in scrape(one)
        if sample.name.endswith("_created")
    }


def test_a_sampled_trace_is_named_beside_what_it_counted_and_another_is_not(one):
    silent = run(one, sampled=False)
    trace_id = run(one, sampled=True)

    until(lambda: set(marked(one, trace_id)) == MARKED)
    found = marked(one, trace_id)
    for name, sample in found.items():
        assert set(sample.exemplar.labels) == {"trace_id", "span_id"}
        assert abs(float(sample.exemplar.timestamp) - time.time()) < 60
        if name.endswith("_bucket"):
            assert sample.exemplar.value <= float(sample.labels["le"])
    assert not marked(one, silent)


def test_a_series_keeps_its_beginning_when_its_worker_is_killed(one):
    run(one, sampled=False)
    before = beginnings(one)
    counted = {family.name for family, _ in scrape(one) if family.type in ("counter", "histogram")}
    assert {name.removesuffix("_created") for name, *_ in before} == counted
    assert all(0 < time.time() - began < 600 for began in before.values())

    [worker] = one.workers().values()
    kill(worker["pid"])
    one.wait_workers(lambda workers: 0 in workers and workers[0]["incarnation"] > worker["incarnation"])
    run(one, sampled=False)

    after = beginnings(one)
    assert before.items() <= after.items()
