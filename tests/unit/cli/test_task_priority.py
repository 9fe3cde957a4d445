"""`task create --priority`."""

from __future__ import annotations

import pytest

from tasker_actors.cli.app import execute

TASK = {"task_uuid": "0199c3e0-ccdb-7581-87ab-3f67daeaa4a5", "correlation_id": "c", "version": "1.0.0"}


@pytest.fixture
def create(supervisor, capsys):
    supervisor.answer = lambda _: (201, TASK)

    def create(*options):
        code = execute(["task", "create", "shop/order", "--context", "{}", "--url", supervisor.url, *options])
        return code, capsys.readouterr().err

    return create


@pytest.mark.parametrize(("given", "sent"), [(["--priority", "7"], 7), (["--priority", "1000"], 1000), ([], None)])
def test_a_priority_is_sent_where_one_is_given(supervisor, create, given, sent):
    assert create(*given) == (0, "")
    assert supervisor.requests[-1].json().get("priority") == sent


@pytest.mark.parametrize("given", ["-1", "1001", "1.5", "high"])
def test_a_priority_out_of_range_is_refused_before_anything_is_sent(supervisor, create, given):
    code, error = create("--priority", given)

    assert code == 2
    assert "--priority" in error
    assert supervisor.requests == []
