"""A template as people name it."""

import pytest

from tasker_actors.workflow.template_reference import parse_template_reference


def test_a_template_is_namespace_name_and_version():
    assert parse_template_reference("flights/day@1.2.0") == ("flights", "day", "1.2.0")
    assert parse_template_reference("flights/day") == ("flights", "day", None)


@pytest.mark.parametrize("text", ["", "day", "/day", "flights/", "flights/day@", "a/b/c", "a/b@1@2", "a b/c", "a/b\n"])
def test_anything_else_is_no_template(text):
    assert parse_template_reference(text) is None
