"""Templates of tasks that handlers start: the supervisor's own, else any in the database, asked for when needed."""

from __future__ import annotations

from functools import partial

import pytest
from support.flow import Flow
from support.leases import template

from tasker_actors.errors import DatabaseUnavailableError
from tasker_actors.postgres.connect import connect
from tasker_actors.postgres.template_lookup import TemplateLookup
from tasker_actors.postgres.templates import register_template
from tasker_actors.workflow.registered import RegisteredTemplate


def registered(flow: Flow, version: str, **keys: object) -> RegisteredTemplate:
    """Register a version of a template."""
    one = template({"a": [], "b": ["a"]}, name="invoice").model_copy(update={"version": version, **keys})
    with flow.pool.connection() as connection:
        return register_template(connection, one, accept_changed_content=True)[0]


def lookup(flow: Flow, *own: RegisteredTemplate) -> TemplateLookup:
    return TemplateLookup(partial(connect, flow.url, application_name="tests"), [one.template_id for one in own])


def test_the_newest_of_the_supervisors_own_is_found_though_others_have_newer_ones(flow: Flow):
    old, own = registered(flow, "1.9.0"), registered(flow, "1.10.0")
    newer = registered(flow, "2.0.0")
    found = lookup(flow, old, own)

    assert found.find_template("shop", "invoice", None) == own
    assert found.find_template("shop", "invoice", "1.9.0") == old
    assert found.find_template("shop", "invoice", "2.0.0") == newer
    assert {one.template_id for one in found.templates()} == {old.template_id, own.template_id}


def test_one_of_another_supervisor_is_its_newest_version_as_registered_last(flow: Flow):
    registered(flow, "1.0.0")
    newest = registered(flow, "1.2.0")
    found = lookup(flow)

    assert found.find_template("shop", "invoice", None) == newest
    changed = registered(flow, "1.2.0", description="changed")
    assert found.find_template("shop", "invoice", None) == changed
    assert found.find_template("shop", "unheard_of", None) is None


def test_a_database_that_is_away_is_an_error_that_passes(flow: Flow):
    away = TemplateLookup(partial(connect, "postgresql://nobody@127.0.0.1:1/x", application_name="tests"), [])

    with pytest.raises(DatabaseUnavailableError, match="cannot be asked for a template"):
        away.find_template("shop", "invoice", None)
