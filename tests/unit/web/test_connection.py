"""Connections over real sockets: what a client can make the server hold, and for how long."""

from __future__ import annotations

import resource
import select
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from urllib.parse import urlsplit

import httpx
import orjson
import pytest
from fastapi import APIRouter, Response
from support.api_runtime import RecordingRuntime, serving
from support.waiting import until

from tasker_actors.settings import HttpSettings, Settings

HEALTH = b"GET /health/live HTTP/1.1\r\nhost: localhost\r\n"
LONG_MS = 60_000
LARGE = 32 * 1024 * 1024


def large_answers() -> APIRouter:
    """An endpoint whose answer is more than sockets hold."""
    router = APIRouter()

    @router.get("/v1/large")
    def large() -> Response:
        return Response(b"x" * LARGE)

    return router


@contextmanager
def limited(more_routes: tuple[APIRouter, ...] = (), **http: int) -> Iterator[tuple[httpx.Client, RecordingRuntime]]:
    """A client of a server with these bounds; all times are long but for those that are given."""
    times = {"header_timeout_ms": LONG_MS, "body_timeout_ms": LONG_MS, "answer_timeout_ms": LONG_MS}
    runtime = RecordingRuntime(None, Settings.model_validate({"http": {**times, **http}}))
    with serving(runtime, more_routes) as client:
        yield client, runtime


def connect(client: httpx.Client) -> socket.socket:
    address = urlsplit(str(client.base_url))
    return socket.create_connection((address.hostname, address.port), timeout=30)


def everything(connection: socket.socket) -> bytes:
    """What comes until the server closes."""
    parts = []
    try:
        while part := connection.recv(65_536):
            parts.append(part)
    except ConnectionResetError:
        pass  # it closed while bytes of ours were still on their way
    return b"".join(parts)


def is_answered(connection: socket.socket) -> bool:
    """Ask for the health, and whether the whole answer came."""
    connection.sendall(HEALTH + b"\r\n")
    answer = b""
    while not answer.endswith(b"}"):
        answer += connection.recv(65_536)
    return answer.startswith(b"HTTP/1.1 200")


def code(answer: bytes) -> tuple[int, str]:
    head, _, body = answer.partition(b"\r\n\r\n")
    return int(head.split()[1]), orjson.loads(body)["error"]["code"]


@pytest.mark.parametrize("sent", [b"", b"G", HEALTH, HEALTH + b"x: " + b"y" * 100])
def test_a_request_whose_headers_never_end_loses_its_connection(sent) -> None:
    with limited(header_timeout_ms=100) as (client, runtime), connect(client) as connection:
        connection.sendall(sent)
        assert code(everything(connection)) == (408, "header_timeout")
        assert runtime.refusals == {"header_timeout": 1}


def test_bytes_that_trickle_in_do_not_make_the_time_longer() -> None:
    with limited(header_timeout_ms=300) as (client, runtime), connect(client) as connection:
        connection.sendall(HEALTH)
        connection.settimeout(0.02)
        answer = b""
        while not answer:
            try:
                answer = connection.recv(65_536)
            except TimeoutError:
                connection.sendall(b"x-more: 1\r\n")
        assert answer.startswith(b"HTTP/1.1 408")
        assert runtime.refusals == {"header_timeout": 1}


def test_the_second_request_of_a_connection_has_the_same_time() -> None:
    with limited(header_timeout_ms=100) as (client, _), connect(client) as connection:
        connection.sendall(HEALTH + b"\r\n" + b"GET /heal")
        answer = everything(connection)
    assert answer.startswith(b"HTTP/1.1 200")
    assert b"HTTP/1.1 408" in answer


def test_a_request_in_progress_is_not_cut_off_by_the_time_for_headers() -> None:
    with limited(header_timeout_ms=50, body_timeout_ms=1_000) as (client, runtime), connect(client) as connection:
        head = b"POST /v1/tasks HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
        connection.sendall(head + b"content-length: 2\r\n\r\n{")
        assert connection.recv(65_536).startswith(b"HTTP/1.1 408")
        assert runtime.refusals == {"request_timeout": 1}


def test_a_connection_without_a_request_is_kept_for_its_time_and_then_closed() -> None:
    with limited(keep_alive_timeout_ms=100) as (client, runtime), connect(client) as connection:
        assert is_answered(connection)
        connection.settimeout(3)  # Uvicorn's own time is 5 s
        assert everything(connection) == b""
        assert runtime.refusals == {}


def test_a_connection_is_kept_longer_than_clients_and_proxies_do() -> None:
    """HTTPX lets go after 5 s, as Uvicorn would, and the proxies of the clouds after 60 s."""
    assert HttpSettings().keep_alive_timeout_ms > 60_000
    with limited(keep_alive_timeout_ms=LONG_MS) as (client, _), connect(client) as connection:
        assert is_answered(connection)
        connection.settimeout(6)  # nothing tells that it is not closed but that it is not
        with pytest.raises(TimeoutError):
            connection.recv(1)
        assert is_answered(connection)


def test_headers_that_go_on_and_on_end_their_connection() -> None:
    with limited(max_header_bytes=4_096) as (client, runtime), connect(client) as connection:
        connection.sendall(HEALTH + b"x-large: " + b"y" * 4_096)
        assert code(everything(connection)) == (431, "headers_too_large")
        assert runtime.refusals == {"headers_too_large": 1}
        assert client.get("/health/live", headers={"x-large": "y" * 3_000}).status_code == 200


def test_headers_that_are_too_large_are_refused_when_they_come_in_one_piece() -> None:
    with limited(max_header_bytes=4_096) as (client, runtime):
        response = client.get("/health/live", headers={"x-large": "y" * 5_000})
        assert (response.status_code, response.json()["error"]["code"]) == (431, "headers_too_large")
        assert runtime.refusals == {"headers_too_large": 1}


def test_what_is_no_request_is_refused_as_json() -> None:
    with limited() as (client, runtime), connect(client) as connection:
        connection.sendall(b"\x16\x03\x01 this is TLS\r\n\r\n")
        assert code(everything(connection)) == (400, "bad_request")
        assert runtime.refusals == {"bad_request": 1}


def test_one_connection_too_many_takes_the_place_of_the_longest_idle_one() -> None:
    with limited(max_connections=3) as (client, runtime), ExitStack() as stack:
        idle = [stack.enter_context(connect(client)) for _ in range(3)]
        for connection in idle:  # so that the order in which they came is certain
            assert is_answered(connection)
        with connect(client) as newest:
            assert is_answered(newest)
        assert everything(idle[0]) == b""
        assert runtime.refusals == {"idle_connection_closed": 1}
        assert is_answered(idle[1])


def test_where_all_connections_are_busy_one_more_is_refused() -> None:
    head = b"POST /v1/tasks HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\nexpect: 100-continue\r\n"
    with limited(max_connections=2) as (client, runtime), ExitStack() as stack:
        for _ in range(2):
            busy = stack.enter_context(connect(client))
            busy.sendall(head + b"content-length: 2\r\n\r\n")
            assert busy.recv(65_536).startswith(b"HTTP/1.1 100")  # its body is being read
        with connect(client) as refused:
            assert code(everything(refused)) == (503, "too_many_connections")
        assert runtime.refusals == {"too_many_connections": 1}


def test_a_flood_of_silent_connections_keeps_nobody_out() -> None:
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    flood = min(soft // 4, 200)
    with limited(max_connections=20) as (client, runtime), ExitStack() as stack:
        for _ in range(flood):
            stack.enter_context(connect(client)).sendall(b"GET / HTTP/1.1\r\n")
        assert client.get("/health/live").status_code == 200
        until(lambda: runtime.refusals["idle_connection_closed"] >= flood - 20)


def test_a_client_that_takes_nothing_of_its_answer_is_cut_off() -> None:
    with limited((large_answers(),), answer_timeout_ms=200) as (client, runtime), connect(client) as connection:
        connection.sendall(b"GET /v1/large HTTP/1.1\r\nhost: localhost\r\n\r\n")
        until(lambda: runtime.refusals["answer_timeout"] == 1)
        assert len(everything(connection)) < LARGE


def test_a_client_that_takes_its_answer_piece_by_piece_is_not_cut_off() -> None:
    """However long it takes: after each of the times that pass it has taken more than the least."""
    with limited((large_answers(),), answer_timeout_ms=3_000) as (client, runtime), connect(client) as connection:
        connection.sendall(b"GET /v1/large HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
        end = time.monotonic() + 7
        taken = 0
        while time.monotonic() < end:
            taken += len(connection.recv(65_536))
            select.select([], [], [connection], 0.1)  # nothing comes of it but time
        assert taken < LARGE
        assert not runtime.refusals
        assert taken + len(everything(connection)) > LARGE
