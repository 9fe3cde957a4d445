"""Handlers that call an HTTP API, against a server of the test's own."""

import json
import threading
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, HTTPServer
from types import MappingProxyType

import httpx
import pytest

from tasker_actors.steps.api_handler import ApiHandler, APIMixin
from tasker_actors.steps.api_response import ApiResponse
from tasker_actors.steps.handler import StepHandler


class Echo(BaseHTTPRequestHandler):
    def answer(self):
        length = int(self.headers.get("content-length") or 0)
        document = {
            "method": self.command,
            "path": self.path,
            "body": self.rfile.read(length).decode(),
            "key": self.headers.get("x-key"),
        }
        data = json.dumps(document).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("set-cookie", "session=secret")
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *args): ...


for method in ("GET", "POST", "PUT", "PATCH", "DELETE"):
    setattr(Echo, f"do_{method}", Echo.answer)


@pytest.fixture(scope="module")
def url():
    server = HTTPServer(("127.0.0.1", 0), Echo)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/api"
    server.shutdown()
    thread.join()
    server.server_close()


class Users(ApiHandler):
    default_headers = MappingProxyType({"x-key": "k"})

    def call(self, context): ...


@pytest.fixture
def users(url):
    handler = Users()
    handler.base_url = url
    yield handler
    handler.close()


def test_every_method_is_sent_below_the_base_url(users):
    sent = [
        users.get("/u", params={"page": 2}),
        users.post("/u", json={"a": 1}),
        users.put("/u", data={"a": "1"}),
        users.patch("/u", json={"a": 2}),
        users.delete("/u"),
        users.request("GET", "/v", headers={"x-key": "other"}),
    ]

    assert [one.body["method"] for one in sent] == ["GET", "POST", "PUT", "PATCH", "DELETE", "GET"]
    assert sent[0].body["path"] == "/api/u?page=2"
    assert json.loads(sent[1].body["body"]) == {"a": 1}
    assert sent[2].body["body"] == "a=1"
    assert (sent[0].body["key"], sent[5].body["key"]) == ("k", "other")


def test_the_client_is_opened_once_and_again_after_a_close(users):
    first = users.client
    assert users.client is first
    users.close()
    users.close()

    assert first.is_closed
    assert users.client is not first


def test_a_constructor_of_ones_own_may_forget_the_mixins():
    class Forgetful(APIMixin, StepHandler):
        def __init__(self):
            self.own = 1

        def call(self, context): ...

    Forgetful().close()
    assert Users().capabilities == ["process", "http", "api"]


def test_an_answer_becomes_a_result_without_its_cookies(users):
    response = users.get("/u")

    result = users.api_success(response)

    assert result.result["path"] == "/api/u"
    assert result.metadata["status_code"] == 200
    assert "set-cookie" not in result.metadata["headers"]
    assert users.api_success(response, {"own": 1}, include_response=False).metadata == {}
    assert response.to_dict()["status_code"] == 200


def answer(status, body=None, headers=None):
    content = {"json": body} if isinstance(body, dict) else {"text": body or ""}
    return ApiResponse(httpx.Response(status, headers=headers, **content))


@pytest.mark.parametrize(
    ("status", "error_type", "retryable", "phrase"),
    [
        (400, "bad_request", False, "Bad Request"),
        (401, "unauthorized", False, "Unauthorized"),
        (403, "forbidden", False, "Forbidden"),
        (404, "not_found", False, "Not Found"),
        (405, "method_not_allowed", False, "Method Not Allowed"),
        (408, "request_timeout", True, "Request Timeout"),
        (409, "conflict", False, "Conflict"),
        (410, "gone", False, "Gone"),
        (418, "client_error", False, "I'm a Teapot"),
        (422, "unprocessable_entity", False, "Unprocessable Entity"),
        (429, "rate_limited", True, "Too Many Requests"),
        (500, "internal_server_error", True, "Internal Server Error"),
        (502, "bad_gateway", True, "Bad Gateway"),
        (503, "service_unavailable", True, "Service Unavailable"),
        (504, "gateway_timeout", True, "Gateway Timeout"),
        (599, "server_error", False, "HTTP Error"),
        (302, "http_error", False, "Found"),
    ],
)
def test_a_status_says_what_kind_of_failure_it_is(status, error_type, retryable, phrase):
    response = answer(status)

    result = Users().api_failure(response)

    assert (result.error_type, result.retryable) == (error_type, retryable)
    assert result.error_message == f"HTTP {status}: {phrase}"
    assert (response.ok, response.is_client_error, response.is_server_error) == (
        False,
        400 <= status < 500,
        status >= 500,
    )


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"error": "no such user"}, "HTTP 404: no such user"),
        ({"error": {"message": "nested"}}, "HTTP 404: nested"),
        ({"error": {"code": 1}, "detail": "further on"}, "HTTP 404: further on"),
        ({"other": 1}, "HTTP 404: Not Found"),
        ("plain text", "HTTP 404: Not Found"),
    ],
)
def test_the_body_says_it_better_than_the_status(body, message):
    result = Users().api_failure(answer(404, body))

    assert result.error_message == message
    assert result.metadata["response_body"] == body
    assert Users().api_failure(answer(404, body), "own words").error_message == "own words"


def test_the_pause_that_a_server_asks_for_is_kept():
    later = datetime.now(UTC) + timedelta(seconds=90)

    assert Users().api_failure(answer(429, headers={"retry-after": "7"})).retry_after == 7
    assert Users().api_failure(answer(404, headers={"retry-after": "7"})).retry_after is None
    assert 60 <= answer(503, headers={"retry-after": format_datetime(later, usegmt=True)}).retry_after <= 90
    assert answer(503, headers={"retry-after": format_datetime(later).replace("+0000", "-0000")}).retry_after >= 60
    assert answer(503, headers={"retry-after": "soon"}).retry_after == 60
    assert answer(503).retry_after is None


def test_a_body_that_claims_to_be_json_is_text_where_it_is_none():
    headers = {"content-type": "application/json"}

    assert ApiResponse(httpx.Response(200, headers=headers, text="{broken")).body == "{broken"
    assert ApiResponse(httpx.Response(200), body={"given": 1}).body == {"given": 1}
    assert Users().api_success(answer(200, "text")).result == {"data": "text"}


def test_no_answer_is_a_failure_to_retry():
    lost = Users().connection_error(httpx.ConnectError("refused"), "reading users")
    late = Users().timeout_error(httpx.ReadTimeout("too late"))

    assert (lost.error_message, lost.error_type) == (
        "Connection error while reading users: refused",
        "connection_error",
    )
    assert (late.error_message, late.error_type) == ("Request timeout: too late", "timeout")
    assert lost.retryable
    assert late.retryable
    assert lost.metadata == {"exception_type": "ConnectError"}
