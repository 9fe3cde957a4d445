import pytest

from tasker_actors.workflow.environments import MAX_ENVIRONMENTS, for_environment, merge, read_environments
from tasker_actors.workflow.faults import FaultCollector

STEPS = [
    {"name": "a", "retry": {"max_attempts": 3, "backoff": "linear"}, "timeout_seconds": 30},
    {"name": "b", "handler": {"callable": "x", "initialization": {"url": "live", "depth": {"m": 1, "n": 2}}}},
]


def read(environments, steps=STEPS):
    document = {"steps": steps, "environments": environments}
    faults = FaultCollector("file", document)
    return read_environments(document, faults), faults.faults


def merged(overrides, steps=STEPS):
    found, faults = read({"test": {"steps": overrides}}, steps)
    assert faults == []
    return for_environment({"steps": steps, "name": "t"}, found["test"])["steps"]


def test_an_override_changes_the_keys_it_names_and_no_other():
    a, b = merged([{"name": "a", "retry": {"max_attempts": 1}}])
    assert a == {"name": "a", "retry": {"max_attempts": 1, "backoff": "linear"}, "timeout_seconds": 30}
    assert b == STEPS[1]


def test_merging_goes_all_the_way_down_and_replaces_lists_in_whole():
    override = {"name": "b", "handler": {"initialization": {"depth": {"n": 9}}}, "dependencies": ["a"]}
    _, b = merged([override])
    assert b["handler"] == {"callable": "x", "initialization": {"url": "live", "depth": {"m": 1, "n": 9}}}
    assert b["dependencies"] == ["a"]
    assert merge({"x": [1, 2]}, {"x": [3]}) == {"x": [3]}


def test_all_is_laid_first_and_the_steps_own_override_over_it_whatever_their_order():
    overrides = [
        {"name": "a", "timeout_seconds": 1},
        {"name": "ALL", "timeout_seconds": 2, "retry": {"max_attempts": 9}},
    ]
    a, b = merged(overrides)
    assert (a["timeout_seconds"], a["retry"]["max_attempts"]) == (1, 9)
    assert (b["timeout_seconds"], b["retry"]["max_attempts"]) == (2, 9)
    assert [step["name"] for step in (a, b)] == ["a", "b"]


def test_other_names_of_keys_meet_the_one_name():
    a, _ = merged([{"name": "a", "retry": {"limit": 1}, "step_type": "decision", "depends_on": ["b"]}])
    assert a["retry"]["max_attempts"] == 1
    assert "limit" not in a["retry"]
    assert (a["type"], a["dependencies"]) == ("decision", ["b"])


def test_the_file_as_it_was_read_is_not_changed():
    steps = [{"name": "a", "retry": {"max_attempts": 3}}]
    merged([{"name": "ALL", "retry": {"max_attempts": 1}}], steps)
    assert steps == [{"name": "a", "retry": {"max_attempts": 3}}]


@pytest.mark.parametrize(
    ("environments", "key", "words", "severity"),
    [
        ([], "environments", "must be a mapping", "error"),
        ({"test": 3}, "environments.test", "must be a mapping", "error"),
        ({"test": {"stpes": []}}, "environments.test.stpes", "did you mean 'steps'", "warning"),
        ({"test": {"steps": {}}}, "environments.test.steps", "must be a list", "error"),
        ({"test": {"steps": ["a"]}}, "environments.test.steps[0]", "must be a mapping", "error"),
        ({"test": {"steps": [{}]}}, "environments.test.steps[0].name", "must be the name of a step", "error"),
        ({"test": {"steps": [{"name": 3}]}}, "environments.test.steps[0].name", "must be the name of a step", "error"),
        ({"test": {"steps": [{"name": "aa"}]}}, "environments.test.steps[0].name", "no step 'aa' (did you", "error"),
        ({"test": {"steps": [{"name": "a"}] * 2}}, "environments.test.steps[1].name", "twice", "error"),
        ({"test": {"steps": [{"name": "a", "rety": 1}]}}, "environments.test.steps[0].rety", "'retry'", "warning"),
        ({"t": {"steps": [{"name": "a", "retry": {"limit": 1, "max_attempts": 1}}]}},
         "environments.t.steps[0].retry.max_attempts", "two names", "error"),
        ({f"e{n}": {} for n in range(MAX_ENVIRONMENTS + 1)}, "environments", "at most 64", "error"),
    ],
)  # fmt: skip
def test_faults_of_environments(environments, key, words, severity):
    _, (fault,) = read(environments)
    assert (fault.step, fault.key, fault.severity) == (None, key, severity)
    assert words in fault.message


@pytest.mark.parametrize("environments", [None, {}, {"test": None}, {"test": {}}, {"test": {"steps": None}}])
def test_empty_environments_are_no_fault(environments):
    found, faults = read(environments)
    assert faults == []
    assert not any(found.values())


def test_steps_that_are_no_mappings_are_left_for_the_model_to_refuse():
    found, _ = read({"test": {"steps": [{"name": "ALL", "timeout_seconds": 1}]}}, steps=["a", {"name": 3}])
    document = for_environment({"steps": ["a", {"name": 3}]}, found["test"])
    assert document["steps"] == ["a", {"name": 3, "timeout_seconds": 1}]
    assert for_environment({"steps": "none"}, found["test"]) == {"steps": "none"}
