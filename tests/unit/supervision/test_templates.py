"""Templates are read by the settings of the supervisor that runs them, and by those of the command that migrates."""

from __future__ import annotations

import pytest
from support.leases import EveryHandlerBut
from support.project import Project

from tasker_actors.cli.database_work import migrate_database
from tasker_actors.errors import TemplateError
from tasker_actors.settings import load_settings
from tasker_actors.supervision.templates import read_templates

DECISIONS = {
    "first": {"type": "decision"},
    "second": {"type": "decision", "dependencies": ["first"]},
    "third": {"type": "decision", "dependencies": ["second"]},
}


@pytest.fixture
def paths(tmp_path):
    """The path of a template with three decisions, one below the other."""
    return [Project(tmp_path / "project").template("deep", DECISIONS, namespace="shop")]


def settings(max_depth):
    return load_settings(environ={"TASKER_DECISIONS__MAX_DEPTH": str(max_depth)})


def test_a_supervisor_takes_as_many_decisions_on_one_way_as_its_setting_says(paths):
    registry = EveryHandlerBut((), {})

    assert [template.name for template in read_templates(settings(3), registry, paths)] == ["deep"]
    with pytest.raises(TemplateError, match=r"third: type: .*decisions\.max_depth is 2"):
        read_templates(settings(2), registry, paths)


def test_the_command_that_migrates_takes_no_more_and_does_nothing_then(paths, monkeypatch):
    opened = []
    monkeypatch.setattr("tasker_actors.cli.database_work.open_database", opened.append)

    with pytest.raises(TemplateError, match=r"decisions\.max_depth is 2"):
        migrate_database(settings(2), paths)

    assert opened == []
