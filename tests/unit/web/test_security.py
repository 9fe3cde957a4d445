"""Who may talk to the port."""

from __future__ import annotations

import hmac

import pytest

from tasker_actors.errors import ConfigurationError
from tasker_actors.web.security import check_bind, has_key, is_loopback, is_open, is_own_host


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.9.10", "::1", "[::1]", "localhost", "LOCALHOST", "localhost."])
def test_loopback_needs_no_key(host) -> None:
    assert is_loopback(host)
    check_bind(host, None)


@pytest.mark.parametrize(
    "host", ["0.0.0.0", "::", "10.0.0.1", "example.org", "localhost.evil.example", "", "127.0.0.1.nip.io"]
)
def test_anything_else_needs_a_key(host) -> None:
    assert not is_loopback(host)
    with pytest.raises(ConfigurationError, match="TASKER_API_KEY"):
        check_bind(host, None)
    check_bind(host, "secret")


@pytest.mark.parametrize("path", ["/health", "/health/live", "/health/ready", "/metrics"])
def test_probes_and_scrapes_are_open(path) -> None:
    assert is_open(path)


@pytest.mark.parametrize(
    "path", ["/metrics/events", "/metrics/", "/healthy", "/v1/health", "/", "/config", "//metrics", "/Health"]
)
def test_nothing_else_is_open(path) -> None:
    assert not is_open(path)


@pytest.mark.parametrize(
    "header",
    [
        (b"authorization", b"Bearer s3cret"),
        (b"authorization", b"bearer  s3cret "),
        (b"x-api-key", b"s3cret"),
    ],
)
def test_the_key_opens_in_either_header(header) -> None:
    assert has_key([(b"host", b"x"), header], "s3cret")


@pytest.mark.parametrize(
    "headers",
    [
        [],
        [(b"authorization", b"s3cret")],
        [(b"authorization", b"Basic s3cret")],
        [(b"authorization", b"Bearer ")],
        [(b"authorization", b"Bearer s3cre")],
        [(b"authorization", b"Bearer s3cret2")],
        [(b"x-api-key", b"")],
        [(b"x-api-key", b"S3CRET")],
        [(b"x-api-key", b"\xff\xfe")],
    ],
)
def test_anything_else_does_not_open(headers) -> None:
    assert not has_key(headers, "s3cret")


def test_one_right_key_among_wrong_ones_opens() -> None:
    assert has_key([(b"x-api-key", b"wrong"), (b"authorization", b"Bearer s3cret")], "s3cret")


@pytest.mark.parametrize("says", [True, False])
def test_nothing_but_the_comparison_in_constant_time_decides_about_a_key(monkeypatch, says) -> None:
    """Neither equality, nor a length, nor the first match: each of them would answer sooner for some keys."""
    compared: list[tuple[bytes, bytes]] = []

    def compare_digest(given: bytes, expected: bytes) -> bool:
        compared.append((given, expected))
        return says

    monkeypatch.setattr(hmac, "compare_digest", compare_digest)
    given = [b"s3cret", b"S3CRET", b"s", b"", b"s3cret and more"]

    assert [has_key([(b"x-api-key", key)], "s3cret") for key in given] == [says] * len(given)
    assert compared == [(key, b"s3cret") for key in given]

    compared.clear()
    together = [(b"x-api-key", b"s3cret"), (b"authorization", b"Bearer s3cret"), (b"x-api-key", b"no")]
    assert has_key(together, "s3cret") is says
    assert [key for key, _ in compared] == [b"s3cret", b"s3cret", b"no"]


def test_a_key_that_is_not_ascii_can_be_sent() -> None:
    assert has_key([(b"x-api-key", "schlüssel".encode())], "schlüssel")


@pytest.mark.parametrize(
    "host", [b"127.0.0.1:8081", b"localhost", b"localhost:8081", b"[::1]:8081", b"::1", b"127.0.0.1", b"LocalHost:1"]
)
def test_a_request_to_this_machine_is_its_own(host) -> None:
    assert is_own_host([(b"host", host)])


@pytest.mark.parametrize(
    "host",
    [b"evil.example", b"evil.example:8081", b"10.0.0.1:8081", b"", b"localhost.evil.example", b"127.0.0.1@evil.example",
     b"localhost:8081:1"],
)  # fmt: skip
def test_a_name_that_was_made_to_point_here_is_not(host) -> None:
    assert not is_own_host([(b"host", host)])
    assert not is_own_host([(b"host", b"localhost"), (b"host", host)])


def test_a_client_without_a_host_header_is_no_browser() -> None:
    assert is_own_host([])
