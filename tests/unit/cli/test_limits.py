"""`limits list`."""

from __future__ import annotations

import json

import pytest

from tasker_actors.cli.app import execute

ROW = {
    "namespace": "shop",
    "scope": "context",
    "name": "order/charge[customer.id]/concurrency",
    "kind": "concurrency",
    "field": "customer.id",
    "value": "42",
    "limit": 2,
    "period_seconds": None,
    "in_use": 2,
    "parked": 17,
    "opens_at": None,
}
RATE = {**ROW, "name": "bank", "value": None, "limit": 5, "period_seconds": 60, "opens_at": "2025-12-01T10:30:00Z"}


@pytest.fixture
def run(supervisor, capsys, monkeypatch):
    monkeypatch.setenv("TASKER_URL", supervisor.url)

    def run(*arguments):
        code = execute(arguments)
        output = capsys.readouterr()
        return code, output.out, output.err

    return run


def test_limits_are_a_table_of_what_is_allowed_in_use_and_waiting(supervisor, run):
    supervisor.answer = lambda _: (200, {"limits": [ROW, RATE]})

    code, out, _ = run("limits", "list", "--namespace", "shop", "--limit", "7")

    assert code == 0
    first, second = (line.split() for line in out.splitlines()[1:])
    assert first == ["shop", ROW["name"], "42", "2", "at", "a", "time", "2", "17", "-"]
    assert second == ["shop", "bank", "-", "5", "in", "60", "s", "2", "17", "2025-12-01T10:30:00Z"]
    assert supervisor.requests[0].path == "/v1/limits?namespace=shop&limit=7"


def test_limits_as_json_and_none_of_them(supervisor, run):
    supervisor.answer = lambda _: (200, {"limits": [ROW]})
    assert json.loads(run("limits", "list", "--json")[1]) == {"limits": [ROW]}

    supervisor.answer = lambda _: (200, {"limits": []})
    assert run("limits", "list") == (0, "", "there are no limits\n")
