"""Requests to a supervisor, and every way in which they can fail."""

import socket

import httpx
import pytest

from tasker_actors.cli.client import SupervisorClient
from tasker_actors.errors import ConfigurationError, RequestRefusedError, SupervisorUnreachableError


@pytest.fixture
def closed_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def test_the_key_is_sent_and_parameters_without_a_value_are_not(supervisor):
    supervisor.answer = lambda _: (200, {"tasks": []})

    with SupervisorClient(supervisor.url, "s3cret") as client:
        document = client.get("/v1/tasks", namespace="a b", name=None, limit=3)

    assert document == {"tasks": []}
    (request,) = supervisor.requests
    assert (request.method, request.path) == ("GET", "/v1/tasks?namespace=a+b&limit=3")
    assert request.headers["authorization"] == "Bearer s3cret"


def test_without_a_key_no_header_is_sent(supervisor):
    supervisor.answer = lambda _: (200, {})

    with SupervisorClient(supervisor.url, None) as client:
        client.delete("/v1/tasks/x")

    assert supervisor.requests[0].method == "DELETE"
    assert "authorization" not in supervisor.requests[0].headers


def test_a_body_is_sent_as_json(supervisor):
    supervisor.answer = lambda _: (201, {"task_uuid": "x"})

    with SupervisorClient(supervisor.url, None) as client:
        client.post("/v1/tasks", b'{"a":1}')

    (request,) = supervisor.requests
    assert request.json() == {"a": 1}
    assert request.headers["content-type"] == "application/json"


def test_a_path_in_the_address_is_kept(supervisor):
    supervisor.answer = lambda _: (200, {})

    with SupervisorClient(f"{supervisor.url}/tasker", None) as client:
        client.get("/v1/workers")

    assert supervisor.requests[0].path == "/tasker/v1/workers"


def test_an_error_of_the_supervisor_is_told_as_it_is(supervisor):
    supervisor.answer = lambda _: (409, {"error": {"code": "task_finished", "message": "the task is finished"}})

    with SupervisorClient(supervisor.url, None) as client, pytest.raises(RequestRefusedError) as refused:
        client.delete("/v1/tasks/x")

    assert str(refused.value) == "the task is finished"
    assert refused.value.error["code"] == "task_finished"
    assert refused.value.status == 409


@pytest.mark.parametrize(
    "answer", [(200, b"<html>"), (200, [1]), (404, b"nothing here"), (500, {"detail": "x"}), (302, b"")]
)
def test_somebody_else_at_the_address_is_not_taken_for_a_supervisor(supervisor, answer):
    supervisor.answer = lambda _: answer

    with SupervisorClient(supervisor.url, None) as client, pytest.raises(SupervisorUnreachableError) as refused:
        client.get("/v1/workers")

    assert supervisor.url in str(refused.value)
    assert f"HTTP {answer[0]}" in str(refused.value)


def test_where_nobody_listens_the_error_says_how_to_start_a_supervisor(closed_port):
    url = f"http://127.0.0.1:{closed_port}"

    with SupervisorClient(url, None) as client, pytest.raises(SupervisorUnreachableError) as refused:
        client.get("/v1/workers")

    assert url in str(refused.value)
    assert "`tasker-actors run`" in str(refused.value)
    assert refused.value.exit_code == 3


def test_a_proxy_of_the_environment_is_not_asked_for_this_machine(supervisor, closed_port, monkeypatch):
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{closed_port}")
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    supervisor.answer = lambda _: (200, {})

    with SupervisorClient(supervisor.url, None) as client:
        assert client.get("/v1/workers") == {}


def test_an_address_that_is_none_is_named():
    with pytest.raises(ConfigurationError, match=r"--url or TASKER_URL http://\[::1: "):
        SupervisorClient("http://[::1", None)


@pytest.mark.parametrize(("method", "is_unsure"), [("get", False), ("delete", True)])
def test_without_an_answer_in_time_it_is_said_whether_something_may_have_been_done(method, is_unsure):
    """The kernel takes the connection and nobody answers it; the client's minute is cut short."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"http://127.0.0.1:{server.getsockname()[1]}"
        with SupervisorClient(url, None) as client:
            client._connection.http.timeout = httpx.Timeout(0.05)
            with pytest.raises(SupervisorUnreachableError, match="did not answer within 60 s") as refused:
                getattr(client, method)("/v1/tasks/x")

    assert ("look before you ask again" in str(refused.value)) is is_unsure


def test_this_machine_by_its_name_is_reached_without_a_proxy_too(supervisor, closed_port, monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{closed_port}")
    supervisor.answer = lambda _: (200, {})

    with SupervisorClient(supervisor.url.replace("127.0.0.1", "localhost"), None) as client:
        assert client.get("/v1/workers") == {}
