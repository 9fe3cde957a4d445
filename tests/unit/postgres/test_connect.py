"""What a connection is opened with, as far as it needs no server."""

import pytest
from psycopg.conninfo import conninfo_to_dict

from tasker_actors.errors import ConfigurationError
from tasker_actors.postgres.connect import connection_string
from tasker_actors.postgres.wait import server_address
from tasker_actors.settings import DatabaseSettings


def options(url, **settings):
    return conninfo_to_dict(
        connection_string(url, application_name="worker-1", database=DatabaseSettings.model_validate(settings))
    )


def test_a_dead_peer_is_noticed_in_bounded_time():
    given = options("postgresql://h/d", connect_timeout_ms=4_001, tcp_user_timeout_ms=1_234)
    assert given["connect_timeout"] == "5"
    assert given["tcp_user_timeout"] == "1234"
    assert given["keepalives"] == "1"
    assert given["application_name"] == "worker-1"
    assert options("postgresql://h/d", connect_timeout_ms=1)["connect_timeout"] == "2"


def test_what_the_url_says_wins():
    given = options("postgresql://h/d?connect_timeout=9&application_name=mine&keepalives_idle=99")
    assert (given["connect_timeout"], given["application_name"], given["keepalives_idle"]) == ("9", "mine", "99")


def test_nothing_is_passed_that_pgbouncer_refuses():
    assert "options" not in options("postgresql://h/d")


@pytest.mark.parametrize("url", ["postgresql://u:s3/cret@h/d", "postgresql://u:s3 cret@h:x/d", "s3cret", "a='s3cret"])
def test_an_unreadable_url_is_refused_without_a_part_of_it(url):
    with pytest.raises(ConfigurationError) as caught:
        options(url)
    text = f"{caught.value}{caught.value.__cause__}"
    assert "s3" not in text
    assert "cret" not in text


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("postgresql://u:p@example.org:5433/d", "example.org:5433"),
        ("postgresql://example.org/d", "example.org:5432"),
        ("postgresql:///d?host=/run/pg", "/run/pg:5432"),
        ("postgresql://a:1,b:2/d", "a:1,b:2"),
        ("host=a,b port=7", "a:7,b:7"),
        ("dbname=d", "localhost:5432"),
    ],
)
def test_the_address_in_words(url, address):
    assert server_address(url) == address


def test_the_address_knows_libpqs_own_variables(monkeypatch):
    monkeypatch.setenv("PGHOST", "from.environment")
    monkeypatch.setenv("PGPORT", "7777")
    assert server_address("dbname=d") == "from.environment:7777"
