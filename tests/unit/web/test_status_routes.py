"""Health and metrics: answered whatever hangs."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import httpx
import pytest
from prometheus_client.openmetrics import parser as openmetrics
from prometheus_client.parser import text_string_to_metric_families
from support.api_runtime import RecordingRuntime, serving

from tasker_actors.settings import Settings
from tasker_actors.web import status_routes, views
from tasker_actors.web.runtime import HealthCheck


@pytest.fixture
def runtime() -> RecordingRuntime:
    settings = Settings.model_validate({"database": {"url": "postgresql://me:pa55@db/x"}})
    return RecordingRuntime(None, settings)  # type: ignore[arg-type]  # nothing here reaches the database


@pytest.fixture
def client(runtime: RecordingRuntime) -> Iterator[httpx.Client]:
    with serving(runtime) as opened:
        yield opened


def failing(*names: str) -> tuple[HealthCheck, ...]:
    good = HealthCheck("workers", healthy=True, message="2 of 2", duration_ms=0.0)
    return (good, *(HealthCheck(name, healthy=False, message="away", duration_ms=1.0) for name in names))


def test_all_is_well(client) -> None:
    for path in ("/health", "/health/live", "/health/ready"):
        response = client.get(path)
        assert response.status_code == 200
        view = views.HealthView.model_validate_json(response.content)
        assert (view.status, view.failing) == ("healthy", [])


def test_readiness_names_what_fails_and_liveness_does_not_care(client, runtime) -> None:
    runtime.checks = failing("database")
    response = client.get("/health/ready")
    assert response.status_code == 503
    assert response.json()["failing"] == ["database"]
    assert response.json()["error"] == {"code": "not_ready", "message": "failing: database"}
    assert client.get("/health/live").status_code == 200
    overall = client.get("/health")
    assert (overall.status_code, overall.json()["status"]) == (200, "degraded")


def test_a_dead_main_loop_is_not_live(client, runtime) -> None:
    runtime.alive = False
    assert client.get("/health/live").status_code == 503
    assert client.get("/health").status_code == 503
    assert client.get("/health").json()["status"] == "unhealthy"


def test_checks_that_hang_make_it_unready_and_leave_it_live(client, runtime, monkeypatch) -> None:
    monkeypatch.setattr(status_routes, "PROBE_TIMEOUT_S", 0.2)
    release = threading.Event()
    runtime.on_health = lambda: release.wait(20)
    runtime.on_metrics = lambda: release.wait(20)
    try:
        assert client.get("/health/ready").status_code == 503
        assert client.get("/health/ready").json()["failing"] == ["checks"]
        assert client.get("/health").status_code == 200
        assert client.get("/health/live").status_code == 200
        assert client.get("/metrics").status_code == 503
    finally:
        release.set()


def test_many_hanging_probes_do_not_silence_liveness(client, runtime, monkeypatch) -> None:
    monkeypatch.setattr(status_routes, "PROBE_TIMEOUT_S", 0.1)
    release = threading.Event()
    runtime.on_health = lambda: release.wait(20)
    try:
        for _ in range(20):
            assert client.get("/health/ready").status_code == 503
        assert client.get("/health/live").status_code == 200
    finally:
        release.set()


def test_metrics_are_prometheus_text(client) -> None:
    response = client.get("/metrics")
    assert response.headers["content-type"] == "text/plain; version=0.0.4"
    assert response.headers["vary"] == "Accept"
    [family] = [one for one in text_string_to_metric_families(response.text) if one.samples]
    assert (family.name, family.samples[0].labels, family.samples[0].value) == (
        "tasker_workers_alive",
        {"worker": "0"},
        1.0,
    )


def test_metrics_are_openmetrics_where_they_are_asked_for(client) -> None:
    response = client.get("/metrics", headers={"accept": "application/openmetrics-text; version=1.0.0"})
    assert response.headers["content-type"] == "application/openmetrics-text; version=1.0.0; charset=utf-8"
    assert response.text.endswith("# EOF\n")
    [family] = [one for one in openmetrics.text_string_to_metric_families(response.text) if one.samples]
    assert (family.name, family.samples[0].value) == ("tasker_workers_alive", 1.0)


def test_event_stats_are_shown_as_the_runtime_gives_them(client, runtime) -> None:
    assert client.get("/metrics/events").json() == runtime.event_stats()


def test_the_configuration_has_no_secrets(client) -> None:
    response = client.get("/config")
    assert "pa55" not in response.text
    assert response.json()["database"]["url"] == "postgresql://me:***@db/x"
