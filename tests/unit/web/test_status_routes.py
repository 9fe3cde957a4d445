"""Health and metrics: answered whatever hangs."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import httpx
import pytest
from prometheus_client.openmetrics import parser as openmetrics
from prometheus_client.parser import text_string_to_metric_families
from support.api_runtime import RecordingRuntime, serving

from tasker_actors.errors import DatabaseUnavailableError
from tasker_actors.postgres.session import DatabaseBusyError, QueryTimeoutError
from tasker_actors.settings import Settings
from tasker_actors.web import status_routes, status_views
from tasker_actors.web.runtime import HealthCheck


@pytest.fixture
def runtime() -> RecordingRuntime:
    settings = Settings.model_validate({"database": {"url": "postgresql://me:pa55@db/x"}})
    return RecordingRuntime(None, settings)


@pytest.fixture
def client(runtime: RecordingRuntime) -> Iterator[httpx.Client]:
    with serving(runtime) as opened:
        yield opened


def that_raises(error: Exception):
    def raising():
        raise error

    return raising


def failing(*names: str) -> tuple[HealthCheck, ...]:
    good = HealthCheck("workers", healthy=True, message="2 of 2", duration_ms=0.0)
    return (good, *(HealthCheck(name, healthy=False, message="away", duration_ms=1.0) for name in names))


def test_all_is_well(client) -> None:
    for path, kind in (
        ("/health", status_views.HealthView),
        ("/health/live", status_views.HealthView),
        ("/health/ready", status_views.HealthDetail),
        ("/health/detailed", status_views.HealthDetail),
    ):
        response = client.get(path)
        assert response.status_code == 200
        view = kind.model_validate_json(response.content)
        assert (view.status, view.healthy, view.failing) == ("healthy", True, [])


def test_readiness_names_what_fails_and_liveness_does_not_care(client, runtime) -> None:
    runtime.checks = failing("database")
    response = client.get("/health/ready")
    assert response.status_code == 503
    assert response.json()["failing"] == ["database"]
    assert response.json()["error"] == {"code": "not_ready", "message": "failing: database"}
    view = status_views.UnhealthyDetail.model_validate_json(response.content)
    assert (view.checks["web_database"].status, view.checks["database"].message) == ("unhealthy", "away")
    assert (view.checks["command_processor"].status, view.checks["orchestration_system"].status) == (
        "healthy",
        "unknown",
    )
    assert client.get("/health/live").status_code == 200
    overall = client.get("/health")
    assert (overall.status_code, overall.json()["status"]) == (200, "degraded")


def test_a_dead_main_loop_is_not_live(client, runtime) -> None:
    runtime.alive = False
    response = client.get("/health/live")
    assert response.status_code == 503
    assert status_views.UnhealthyView.model_validate_json(response.content).error.code == "not_live"
    assert client.get("/health").status_code == client.get("/health/detailed").status_code == 503
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
        refused = client.get("/metrics")
        assert (refused.status_code, refused.json()["error"]["code"]) == (503, "metrics_unavailable")
        assert "queue_depth" not in client.get("/health/detailed").json()["checks"]
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
    response = client.get("/metrics/events")
    assert response.json() == runtime.event_stats()
    status_views.EventStats.model_validate_json(response.content)


def test_the_configuration_has_no_secrets(client) -> None:
    response = client.get("/config")
    assert "pa55" not in response.text
    assert response.json()["database"]["url"] == "postgresql://me:***@db/x"
    view = status_views.ConfigView.model_validate_json(response.content)
    assert (view.deployment_mode, view.auth.enabled) == ("external", False)


def test_a_probe_may_add_what_it_likes_and_others_may_not(client) -> None:
    assert client.get("/health/live?now=1").status_code == client.get("/metrics?name=x").status_code == 200
    for path in ("/config", "/metrics/events", "/v1/workers"):
        response = client.get(f"{path}?pretty=1")
        assert response.status_code == 422
        assert response.json()["error"]["faults"] == [{"path": "pretty", "message": "there is no such parameter"}]


def test_what_the_database_cannot_do_now_is_said(client, runtime) -> None:
    for error, code in (
        (DatabaseBusyError("it waits"), "database_busy"),
        (QueryTimeoutError("it took long"), "query_timeout"),
        (DatabaseUnavailableError("it is away"), "database_unavailable"),
    ):
        runtime.templates = that_raises(error)
        response = client.get("/v1/templates")
        assert (response.status_code, response.json()["error"]["code"]) == (503, code)
        assert response.headers["retry-after"] == "1"
