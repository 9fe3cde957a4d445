"""Which Accept headers take JSON."""

import pytest

from tasker_actors.web.accept import takes_json


@pytest.mark.parametrize(
    ("accept", "taken"),
    [
        (None, True),
        ("", True),
        ("*/*", True),
        ("application/json", True),
        ("Application/JSON; charset=utf-8", True),
        ("application/*;q=0.1, text/html", True),
        ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", True),
        ("nonsense", True),
        ("text/html", False),
        ("text/html, application/xml", False),
        ("application/json;q=0, */*", False),
        ("application/json;q=0.5, application/*;q=0", True),
        ("application/xml;q=1, application/json;q=much", False),
    ],
)
def test_json_is_taken(accept, taken):
    assert takes_json(accept) is taken
