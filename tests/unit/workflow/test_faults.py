import pytest

from tasker_actors.errors import Fault, TemplateError
from tasker_actors.workflow.faults import MAX_FAULTS, FaultCollector, dotted, settle
from tasker_actors.workflow.nearest import hint, nearest

DOCUMENT = {"steps": [{"name": "charge"}, {"name": 7}, "text"]}


def test_paths_are_written_as_a_reader_would():
    assert dotted(()) == ""
    assert dotted(("steps", 0, "retry", "backoff")) == "steps[0].retry.backoff"


@pytest.mark.parametrize(
    ("path", "step", "key"),
    [
        (("steps", 0, "retry", "backoff"), "charge", "retry.backoff"),
        (("steps", 0), "charge", ""),
        (("steps", 1, "name"), None, "steps[1].name"),
        (("steps", 2), None, "steps[2]"),
        (("steps", 9, "name"), None, "steps[9].name"),
        (("version",), None, "version"),
        ((), None, ""),
    ],
)
def test_a_fault_names_its_step_where_the_step_has_a_name(path, step, key):
    faults = FaultCollector("file", DOCUMENT)
    faults.error(path, "is wrong")
    assert faults.faults == [Fault("file", step, key, "is wrong")]


def test_the_nearest_name_is_suggested():
    faults = FaultCollector("file", DOCUMENT)
    faults.warning(("descripton",), "unknown key", meant=("descripton", ["name", "description"]))
    assert faults.faults[0].message == "unknown key (did you mean 'description'?)"
    assert not faults.has_errors


def test_no_name_is_suggested_where_none_is_near():
    assert hint("zzz", ["name", "description"]) == ""
    assert nearest("n" * 1_000, ["n" * 1_000]) is None


def test_a_fault_that_several_environments_share_is_told_once():
    faults = FaultCollector("file", DOCUMENT)
    faults.error(("version",), "is missing")
    faults.go_on_with("production")
    faults.error(("version",), "is missing")
    faults.error(("name",), "is missing")
    assert [str(fault) for fault in faults.faults] == [
        "file: version: is missing",
        "file: name: is missing (in environment production)",
    ]


def test_faults_are_bounded_and_say_so():
    faults = FaultCollector("file", DOCUMENT)
    for number in range(MAX_FAULTS + 50):
        faults.error((f"key{number}",), "is wrong")
    assert len(faults.faults) == MAX_FAULTS + 1
    assert "the rest is left out" in faults.faults[-1].message


WARNING = Fault("file", None, "a", "odd", "warning")
ERROR = Fault("file", None, "b", "wrong")


def test_warnings_are_returned_and_errors_raised():
    assert settle([WARNING], strict=False) == [WARNING]
    with pytest.raises(TemplateError) as raised:
        settle([WARNING, ERROR], strict=False)
    assert raised.value.faults == (ERROR,)


def test_strictly_every_warning_is_an_error():
    with pytest.raises(TemplateError) as raised:
        settle([WARNING, ERROR], strict=True)
    assert [(fault.key, fault.severity) for fault in raised.value.faults] == [("a", "error"), ("b", "error")]
    assert settle([], strict=True) == []
