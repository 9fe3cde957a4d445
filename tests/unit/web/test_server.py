"""Start and stop of the HTTP server."""

from __future__ import annotations

import socket
import threading
import time

import httpx
import pytest
from support.api_runtime import RecordingRuntime, serving
from support.waiting import until

from tasker_actors.errors import StartupError
from tasker_actors.web.server import HttpServer


@pytest.fixture
def runtime() -> RecordingRuntime:
    return RecordingRuntime(None)


def test_a_port_in_use_is_an_error_with_host_and_port(runtime) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(StartupError, match=f"127.0.0.1:{port}: Address already in use"):
            HttpServer(runtime, "127.0.0.1", port).bind()


def test_of_two_servers_on_one_port_the_second_fails_before_the_first_serves(runtime) -> None:
    first = HttpServer(runtime, "127.0.0.1", 0)
    first.bind()
    port = int(first.url.rpartition(":")[2])
    with pytest.raises(StartupError):
        HttpServer(runtime, "127.0.0.1", port).bind()
    first.stop(time.monotonic())


@pytest.mark.parametrize("host", ["no.such.host.invalid", "203.0.113.1"])
def test_an_address_that_is_not_ours_is_an_error(runtime, host) -> None:
    with pytest.raises(StartupError, match=host):
        HttpServer(runtime, host, 0).bind()


@pytest.mark.parametrize(
    ("host", "shown"), [("127.0.0.1", "127.0.0.1"), ("::1", "[::1]"), ("0.0.0.0", "127.0.0.1"), ("::", "[::1]")]
)
def test_the_url_is_one_that_a_client_can_use(runtime, host, shown) -> None:
    server = HttpServer(runtime, host, 0)
    server.bind()
    server.start()
    assert server.url.startswith(f"http://{shown}:")
    try:
        assert httpx.get(f"{server.url}/health", trust_env=False).status_code == 200
        assert httpx.get(f"{server.url}/v1/templates", trust_env=False).status_code == 200
    finally:
        server.stop(time.monotonic() + 5)


def test_clients_that_come_before_the_start_are_answered(runtime) -> None:
    server = HttpServer(runtime, "127.0.0.1", 0)
    server.bind()
    answers: list[int] = []
    thread = threading.Thread(
        target=lambda: answers.append(httpx.get(f"{server.url}/health", trust_env=False, timeout=10).status_code)
    )
    thread.start()
    server.start()
    thread.join(10)
    assert answers == [200]
    server.stop(time.monotonic() + 5)


def test_stop_frees_the_port_and_ends_the_thread(runtime) -> None:
    before = threading.active_count()
    server = HttpServer(runtime, "127.0.0.1", 0)
    server.bind()
    server.start()
    assert server.is_serving
    port = int(server.url.rpartition(":")[2])
    httpx.get(f"{server.url}/health", trust_env=False)
    server.stop(time.monotonic() + 5)
    assert not server.is_serving
    until(lambda: threading.active_count() <= before)
    with socket.socket() as again:
        again.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        again.bind(("127.0.0.1", port))


def test_stop_lets_a_request_finish(runtime) -> None:
    began, release = threading.Event(), threading.Event()

    def slow() -> None:
        began.set()
        release.wait(10)

    runtime.on_metrics = slow
    server = HttpServer(runtime, "127.0.0.1", 0)
    server.bind()
    server.start()
    answers: list[int] = []
    asking = threading.Thread(
        target=lambda: answers.append(httpx.get(f"{server.url}/metrics", trust_env=False).status_code)
    )
    asking.start()
    assert began.wait(10)
    stopping = threading.Thread(target=server.stop, args=(time.monotonic() + 10,))
    stopping.start()
    release.set()
    asking.join(10)
    stopping.join(10)
    assert answers == [200]
    assert not server.is_serving


def test_stop_keeps_its_deadline_with_a_request_that_hangs(runtime) -> None:
    began, release = threading.Event(), threading.Event()

    def hang(*_: object) -> None:
        began.set()
        release.wait(20)

    runtime.find_template = hang
    server = HttpServer(runtime, "127.0.0.1", 0)
    server.bind()
    server.start()
    body = {"namespace": "shop", "name": "order"}

    answers: list[httpx.Response] = []
    asking = threading.Thread(
        target=lambda: answers.append(httpx.post(f"{server.url}/v1/tasks", json=body, trust_env=False, timeout=10))
    )
    asking.start()
    assert began.wait(10)
    start = time.monotonic()
    server.stop(start + 1)
    assert time.monotonic() - start < 3
    asking.join(10)
    assert answers[0].status_code == 503
    assert answers[0].json()["error"]["code"] == "stopping"
    release.set()
    until(lambda: not server.is_serving)


def test_stop_keeps_its_deadline_with_an_idle_connection(runtime) -> None:
    with serving(runtime) as client:
        client.get("/health")
        start = time.monotonic()
    assert time.monotonic() - start < 3


def test_stop_without_start_does_nothing(runtime) -> None:
    server = HttpServer(runtime, "127.0.0.1", 0)
    server.stop(time.monotonic())
    server.bind()
    server.stop(time.monotonic())
    assert not server.is_serving
