"""Templates that were parsed once, for those who create tasks in transactions of their own."""

import orjson
from support.leases import template

from tasker_actors.postgres.creation import _ParsedTemplates, _StoredTemplates
from tasker_actors.workflow.registered import RegisteredTemplate


def definition(name):
    return orjson.dumps(template({"a": [], "b": ["a"]}, name=name).definition()).decode()


def test_the_oldest_template_gives_way_to_a_new_one():
    parsed = _ParsedTemplates(2)
    added = [parsed.add(name, definition(name)) for name in ("one", "two", "three")]

    assert [parsed.get(name) for name in ("one", "two", "three")] == [None, *added[1:]]
    assert [len(plan) for _, plan in added] == [2, 2, 2]


def test_of_what_was_read_the_newest_version_is_found():
    versions = [template({"a": []}).model_copy(update={"version": version}) for version in ("1.10.0", "1.9.0")]
    stored = _StoredTemplates(RegisteredTemplate(number, each, ()) for number, each in enumerate(versions))

    assert [each.template.version for each in stored.templates()] == ["1.9.0", "1.10.0"]
    assert stored.find_template("shop", "work", None).template.version == "1.10.0"
    assert stored.find_template("shop", "work", "1.9.0").template.version == "1.9.0"
    assert stored.find_template("shop", "other", None) is None
