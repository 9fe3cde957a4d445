"""The guard over a real socket: keys, hosts, sizes, and an answer for everything."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
import structlog
from fastapi import APIRouter
from support.api_runtime import RecordingRuntime, in_threads, serving
from support.waiting import until

from tasker_actors.settings import Settings
from tasker_actors.web import app, body_limit, guard
from tasker_actors.web.server import HttpServer

KEY = "s3cret"
ORDER = b'{"namespace": "shop", "name": "order"}'
JSON = {"content-type": "application/json"}


@pytest.fixture
def runtime() -> RecordingRuntime:
    return RecordingRuntime(pool=None)  # type: ignore[arg-type]  # nothing here reaches the database


@pytest.fixture
def client(runtime: RecordingRuntime) -> Iterator[httpx.Client]:
    with serving(runtime) as opened:
        yield opened


@pytest.fixture
def locked_client() -> Iterator[httpx.Client]:
    settings = Settings.model_validate({"http": {"api_key": KEY}})
    with serving(RecordingRuntime(None, settings)) as opened:
        yield opened


def error(response: httpx.Response, status: int, code: str) -> dict[str, Any]:
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/json"
    found: dict[str, Any] = response.json()["error"]
    assert found["code"] == code
    assert found["message"]
    return found


def raw_answer(client: httpx.Client, request: bytes) -> bytes:
    """Send bytes as they are and return all that comes back until the server closes."""
    address = urlsplit(str(client.base_url))
    with socket.create_connection((address.hostname, address.port), timeout=10) as connection:
        connection.sendall(request)
        connection.shutdown(socket.SHUT_WR)
        return b"".join(iter(lambda: connection.recv(65_536), b""))


@pytest.mark.parametrize(
    "path", ["/v1/tasks", "/v1/workers", "/config", "/metrics/events", "/api-docs", "/nope", "/v1/events/stream"]
)
def test_without_the_key_nothing_is_told(locked_client, path) -> None:
    for headers in ({}, {"x-api-key": "wrong"}, {"authorization": "Bearer wrong"}, {"authorization": f"Basic {KEY}"}):
        response = locked_client.get(path, headers=headers)
        error(response, 401, "unauthorized")
        assert response.headers["www-authenticate"] == "Bearer"


def test_without_the_key_nothing_is_changed(locked_client) -> None:
    error(locked_client.post("/v1/tasks", content=ORDER, headers=JSON), 401, "unauthorized")
    error(locked_client.delete("/v1/tasks/x"), 401, "unauthorized")


@pytest.mark.parametrize("path", ["/health", "/health/live", "/health/ready", "/metrics"])
def test_probes_and_scrapes_need_no_key_and_no_host(locked_client, client, path) -> None:
    assert locked_client.get(path).status_code == 200
    assert client.get(path, headers={"host": "10.0.0.1"}).status_code == 200


@pytest.mark.parametrize("headers", [{"authorization": f"Bearer {KEY}"}, {"x-api-key": KEY}])
def test_with_the_key_everything_is_there(locked_client, headers) -> None:
    assert locked_client.get("/config", headers=headers).json()["http"]["api_key"] == "***"
    assert locked_client.get("/v1/templates", headers={**headers, "host": "api.example"}).status_code == 200


def test_without_a_key_a_page_that_made_its_name_point_here_gets_nothing(client) -> None:
    assert client.get("/v1/templates").status_code == 200
    error(client.get("/v1/templates", headers={"host": "evil.example"}), 403, "forbidden_host")


@pytest.mark.parametrize("content_type", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", ""])
def test_a_body_that_a_page_could_send_unasked_is_refused(client, content_type) -> None:
    error(
        client.post("/v1/tasks", content=ORDER, headers={"content-type": content_type}), 415, "unsupported_media_type"
    )


def test_a_body_without_a_declared_type_is_refused(client) -> None:
    error(client.post("/v1/tasks", content=ORDER), 415, "unsupported_media_type")


@pytest.mark.parametrize("content_type", ["application/json; charset=utf-8", "Application/JSON", "application/x+json"])
def test_json_may_be_declared_in_many_ways(client, content_type) -> None:
    response = client.post("/v1/tasks", content=ORDER, headers={"content-type": content_type})
    error(response, 404, "unknown_template")


def body_of(size: int) -> bytes:
    return b'{"namespace": "' + b"x" * (size - 17) + b'"}'


def test_a_body_up_to_the_limit_is_read(client, runtime) -> None:
    error(client.post("/v1/tasks", content=body_of(runtime.settings.http.max_body_bytes), headers=JSON), 422, "invalid")


def test_a_larger_one_is_refused_by_its_declared_length(client, runtime) -> None:
    body = body_of(runtime.settings.http.max_body_bytes + 1)
    error(client.post("/v1/tasks", content=body, headers=JSON), 413, "body_too_large")


def test_a_declared_length_is_refused_before_the_body_is_sent(client) -> None:
    head = b"POST /v1/tasks HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
    assert raw_answer(client, head + b"content-length: 99999999\r\n\r\n").startswith(b"HTTP/1.1 413")


def test_a_chunked_body_is_refused_as_soon_as_it_is_too_large(client, runtime) -> None:
    sent = 0

    def chunks() -> Iterator[bytes]:
        nonlocal sent
        for _ in range(64):
            sent += 65_536
            yield b" " * 65_536

    error(client.post("/v1/tasks", content=chunks(), headers=JSON), 413, "body_too_large")
    # The connection is good for the next request: what was sent in vain was dropped.
    assert client.get("/health").status_code == 200


def test_a_refused_chunked_body_is_not_kept_in_memory(client, runtime, monkeypatch) -> None:
    largest = 0
    original = body_limit.read_body_message

    async def watched(scope, receive, max_bytes, timeout_s):
        nonlocal largest
        size = 0

        async def counted():
            nonlocal largest, size
            message = await receive()
            size += len(message.get("body", b""))
            largest = max(largest, size)
            return message

        return await original(scope, counted, max_bytes, timeout_s)

    monkeypatch.setattr(guard, "read_body_message", watched)
    response = client.post("/v1/tasks", content=iter([b" " * 65_536] * 256), headers=JSON)
    error(response, 413, "body_too_large")
    assert largest < runtime.settings.http.max_body_bytes + 1_000_000


def test_a_client_that_sends_too_slowly_is_told_so() -> None:
    runtime = SlowRuntime({"body_timeout_ms": 100})
    head = b"POST /v1/tasks HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
    with serving(runtime) as client:
        address = urlsplit(str(client.base_url))
        with socket.create_connection((address.hostname, address.port), timeout=10) as connection:
            connection.sendall(head + b"content-length: 100\r\n\r\n{")
            assert connection.recv(65_536).startswith(b"HTTP/1.1 408")
    assert runtime.refusals == {"request_timeout": 1}


def test_unknown_paths_and_methods_are_answered_like_everything_else(client) -> None:
    error(client.get("/nope"), 404, "not_found")
    error(client.get("/v1/tasks/"), 404, "not_found")
    error(client.get("/docs"), 404, "not_found")
    response = client.put("/v1/tasks")
    error(response, 405, "method_not_allowed")
    assert response.headers["allow"] == "GET, HEAD, POST"
    error(client.post("/metrics", content=b""), 405, "method_not_allowed")
    error(client.options("/v1/tasks"), 405, "method_not_allowed")


def test_a_fault_of_ours_is_500_and_shows_nothing(client, runtime) -> None:
    def explode() -> None:
        raise RuntimeError("secret connection string")

    runtime.on_metrics = explode
    runtime.find_template = lambda *_: explode()
    with structlog.testing.capture_logs() as lines:
        response = client.get("/metrics")
        error(response, 500, "internal_error")
        error(client.post("/v1/tasks", content=ORDER, headers=JSON), 500, "internal_error")
        until(lambda: len([line for line in lines if line["log_level"] == "error"]) == 2)
    assert "secret" not in response.text
    assert response.headers["x-correlation-id"]


def test_head_is_answered_like_get_without_a_body(client) -> None:
    for path in ("/v1/templates", "/health", "/metrics", "/api-docs", "/v1/templates/a/b/1.0.0"):
        got, head = client.get(path), client.head(path)
        assert (head.status_code, head.content) == (got.status_code, b"")
        assert head.headers["content-type"] == got.headers["content-type"]
    assert (
        client.head("/v1/templates").headers["content-length"] == client.get("/v1/templates").headers["content-length"]
    )
    assert client.head("/v1/events/dlq/redrive").status_code == 405
    assert client.head("/v1/events/stream").status_code in (404, 405)


def test_who_takes_no_json_gets_none_and_nothing_is_done(client, runtime) -> None:
    for path in ("/v1/templates", "/config", "/nope/v1", "/health", "/metrics"):
        response = client.get(path, headers={"accept": "text/html"})
        assert response.status_code == (406 if path in ("/v1/templates", "/config") else client.get(path).status_code)
    error(client.post("/v1/tasks", content=ORDER, headers={**JSON, "accept": "text/xml"}), 406, "not_acceptable")
    assert runtime.created == []
    assert client.get("/v1/templates", headers={"accept": "text/html, */*;q=0.1"}).status_code == 200


def test_answers_are_neither_sniffed_nor_kept(client) -> None:
    headers = client.get("/v1/templates").headers
    assert (headers["x-content-type-options"], headers["cache-control"]) == ("nosniff", "no-store")
    assert "server" not in headers


def test_a_client_that_goes_away_costs_nothing(client) -> None:
    head = (
        b"POST /v1/tasks HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\n{"
    )
    raw_answer(client, head)
    assert client.get("/health").status_code == 200


class SlowRuntime(RecordingRuntime):
    """Takes as long as it is told to for every task."""

    def __init__(self, http: dict[str, int] | None = None) -> None:
        settings = Settings.model_validate({"http": http or {}})
        super().__init__(None, settings)  # type: ignore[arg-type]  # nothing here reaches the database
        self.release = threading.Event()
        self.entered = threading.Semaphore(0)

    def find_template(self, *_: object) -> None:
        self.entered.release()
        assert self.release.wait(20)


@contextmanager
def posting(runtime: SlowRuntime, count: int) -> Iterator[httpx.Client]:
    """A client of a server to which that many others are posting tasks; all of them are answered in the end."""
    with serving(runtime) as client:

        def post(_: int) -> int:
            with httpx.Client(base_url=client.base_url, trust_env=False, timeout=30) as own:
                return own.post("/v1/tasks", content=ORDER, headers=JSON).status_code

        answers: list[list[int]] = []
        thread = threading.Thread(target=lambda: answers.append(in_threads(post, count)))
        thread.start()
        try:
            yield client
        finally:
            runtime.release.set()
            thread.join(20)
    assert answers == [[404] * count]


def test_only_so_many_requests_are_read_and_answered_at_once() -> None:
    runtime = SlowRuntime({"max_active_requests": 3})
    with posting(runtime, 8):
        for _ in range(3):
            assert runtime.entered.acquire(timeout=10)
        assert not runtime.entered.acquire(timeout=0.3)


def test_requests_that_hold_every_thread_hold_up_neither_probes_nor_scrapes(monkeypatch) -> None:
    monkeypatch.setattr(app, "THREADS", 2)
    runtime = SlowRuntime()
    with posting(runtime, 4) as client:
        for _ in range(2):
            assert runtime.entered.acquire(timeout=10)
        for path in ("/health", "/health/live", "/health/ready", "/metrics", "/metrics/events"):
            assert client.get(path, timeout=3).status_code == 200
        assert not runtime.entered.acquire(timeout=0.1)


def test_too_many_waiting_requests_are_turned_away() -> None:
    runtime = SlowRuntime({"max_active_requests": 1, "max_waiting_requests": 2})
    refused: list[httpx.Response] = []
    with serving(runtime) as client:

        def post(_: int) -> int:
            with httpx.Client(base_url=client.base_url, trust_env=False, timeout=30) as own:
                response = own.post("/v1/tasks", content=ORDER, headers=JSON)
            if response.status_code == 503:
                refused.append(response)
            if len(refused) == 3:
                runtime.release.set()
            return response.status_code

        assert sorted(in_threads(post, 6)) == [404] * 3 + [503] * 3
    assert runtime.refusals == {"overloaded": 3}
    for response in refused:
        error(response, 503, "overloaded")
        assert response.headers["retry-after"] == "1"


def test_more_routes_can_be_added_under_the_same_guard() -> None:
    router = APIRouter()

    @router.get("/v1/more")
    def more() -> dict[str, int]:
        return {"x": 1}

    settings = Settings.model_validate({"http": {"api_key": KEY}})
    server = HttpServer(RecordingRuntime(None, settings), "127.0.0.1", 0, [router])
    server.bind()
    server.start()
    try:
        error(httpx.get(f"{server.url}/v1/more", trust_env=False), 401, "unauthorized")
        assert httpx.get(f"{server.url}/v1/more", headers={"x-api-key": KEY}, trust_env=False).json() == {"x": 1}
    finally:
        server.stop(time.monotonic() + 5)


_INSTRUMENTED = """
import sys
from opentelemetry import metrics, trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from support.api_runtime import RecordingRuntime, serving

spans, figures = InMemorySpanExporter(), InMemoryMetricReader()
trace.set_tracer_provider(TracerProvider())
trace.get_tracer_provider().add_span_processor(SimpleSpanProcessor(spans))
metrics.set_meter_provider(MeterProvider([figures]))
with serving(RecordingRuntime(None)) as client:
    assert client.get("/v1/templates").status_code == 200
    assert client.get("/nope").status_code == 404
sys.exit(len(spans.get_finished_spans()) + (figures.get_metrics_data() is not None))
"""


def test_the_web_framework_adds_no_spans_and_no_metrics_of_its_own() -> None:
    tests = str(Path(__file__).parents[2])
    done = subprocess.run([sys.executable, "-c", _INSTRUMENTED], env={**os.environ, "PYTHONPATH": tests}, check=False)
    assert done.returncode == 0
