"""`template validate` as a user runs it: a process of its own, in a directory of their own, with no server."""

import json
import subprocess
import sys

import pytest
from support.environment import bare

GOOD = """
name: day
namespace_name: flights
version: 1.0.0
steps:
  - name: fetch
    handler: {callable: my_handlers.fetch}
  - name: assess
    handler: {callable: flights.assess}
    dependencies: [fetch]
    publishes_events:
      - {name: flight.assessed, publisher: Loud}
"""
BAD = """
name: night
namespace_name: Flights
version: 1.0.0
steps:
  - name: fetch
    handler: {callable: my_handlers.fetch}
    dependencies: [asses]
    retry: {backoff: exponental}
  - name: assess
    handler: {callable: flights.assess}
    timeout_second: 5
    publishes_events:
      - {name: assessed}
"""
HANDLERS = """
from tasker_actors import StepHandler, step_handler, BasePublisher

@step_handler("flights.assess")
def assess(context): return {}

class Loud(BasePublisher):
    publisher_name = "Loud"
"""


@pytest.fixture
def validate(tmp_path):
    """Run `template validate` in a directory with a good template; returns exit code, standard output and error."""
    (tmp_path / "templates" / "deep").mkdir(parents=True)
    (tmp_path / "templates" / "deep" / "day.yaml").write_text(GOOD)

    def run(*arguments, **variables):
        done = subprocess.run(
            [
                sys.executable,
                "-c",
                "from tasker_actors.cli.app import main; main()",
                "template",
                "validate",
                *arguments,
            ],
            cwd=tmp_path,
            env=bare(**variables),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        return done.returncode, done.stdout, done.stderr

    return run


def test_a_good_template_is_0(validate):
    code, out, err = validate("templates")

    assert (code, out) == (0, "")
    assert err == "1 templates can be used, 0 errors, 0 warnings\n"


TWO_DECISIONS = """
name: choose
namespace_name: flights
version: 1.0.0
steps:
  - {name: first, type: decision, handler: {callable: flights.first}}
  - {name: second, type: decision, handler: {callable: flights.second}, dependencies: [first]}
  - {name: last, handler: {callable: flights.last}, dependencies: [second]}
"""


@pytest.mark.parametrize("how", [{"arguments": ["--max-decision-depth", "1"]}, {"TASKER_DECISIONS__MAX_DEPTH": "1"}])
def test_decisions_are_as_deep_as_the_supervisor_allows(validate, tmp_path, how):
    (tmp_path / "templates" / "choose.yaml").write_text(TWO_DECISIONS)

    assert validate("templates")[0] == 0
    code, out, _ = validate(*how.pop("arguments", []), "templates", **how)

    assert code == 2
    assert "step second" in out
    assert "decisions.max_depth is 1" in out


def test_all_faults_of_all_files_are_reported_at_once(validate, tmp_path):
    (tmp_path / "templates" / "night.yml").write_text(BAD)
    (tmp_path / "templates" / "broken.yaml").write_text("name: [")

    code, out, _ = validate("templates")

    assert code == 2
    lines = out.splitlines()
    for words in (
        ("error", "broken.yaml"),
        ("error", "night.yml", "namespace_name", "Flights"),
        ("error", "night.yml", "step fetch", "dependencies", "asses"),
        ("error", "night.yml", "step fetch", "backoff", "exponental", "exponential"),
        ("error", "night.yml", "step assess", "publishes_events", "assessed"),
        ("warning", "night.yml", "step assess", "timeout_second", "timeout_seconds"),
    ):
        assert any(line.startswith(words[0]) and all(word in line for word in words) for line in lines), (words, out)


@pytest.mark.parametrize("strictly", [{"arguments": ["--strict"]}, {"TASKER_ENV": "production"}, {}])
def test_a_warning_is_an_error_only_where_it_is_strict(validate, tmp_path, strictly):
    (tmp_path / "templates" / "odd.yaml").write_text(GOOD.replace("name: day", "name: odd\ncolour: red"))
    arguments = strictly.pop("arguments", [])

    code, out, _ = validate(*arguments, "templates", **strictly)

    severity = "error" if arguments or strictly else "warning"
    assert code == (2 if severity == "error" else 0)
    assert out.startswith(f"{severity}: templates/odd.yaml: colour: unknown key")


def test_json_has_templates_and_faults(validate, tmp_path):
    (tmp_path / "templates" / "odd.yaml").write_text(GOOD.replace("name: day", "name: odd\ncolour: red"))

    code, out, _ = validate("templates", "--json")

    document = json.loads(out)
    assert code == 0
    assert document["valid"] is True
    assert {template["name"]: template["file"] for template in document["templates"]} == {
        "day": "templates/deep/day.yaml",
        "odd": "templates/odd.yaml",
    }
    (fault,) = document["faults"]
    assert (fault["file"], fault["step"], fault["key"], fault["severity"]) == (
        "templates/odd.yaml",
        None,
        "colour",
        "warning",
    )


def test_with_handlers_what_a_template_refers_to_is_checked(validate, tmp_path):
    (tmp_path / "my_handlers.py").write_text(HANDLERS)

    code, out, _ = validate("templates", "--handlers", "my_handlers")

    assert code == 2
    (line,) = out.splitlines()
    assert "step fetch" in line
    assert "my_handlers.fetch" in line

    (tmp_path / "my_handlers.py").write_text(HANDLERS + "\ndef fetch(context): return {}\n")
    assert validate("templates", "--handlers", "my_handlers")[:2] == (0, "")

    (tmp_path / "my_handlers.py").write_text(HANDLERS.replace("Loud", "Quiet") + "\ndef fetch(context): return {}\n")
    code, out, _ = validate("templates", "--handlers", "my_handlers")
    assert (code, out.startswith("warning")) == (0, True)
    assert "'Loud'" in out


def test_handlers_that_cannot_be_imported_are_3(validate):
    code, out, err = validate("templates", "--handlers", "my_handlers")

    assert (code, out) == (3, "")
    assert "my_handlers" in err


@pytest.mark.parametrize(("arguments", "what"), [(["nowhere"], "nowhere"), (["empty"], "no template"), ([], "PATH")])
def test_nothing_to_check_is_2(validate, tmp_path, arguments, what):
    (tmp_path / "empty").mkdir()

    code, out, err = validate(*arguments)

    assert code == 2
    assert what in out + err
