import pytest

from tasker_actors.workflow.dag import (
    ancestors,
    descendants,
    find_cycle,
    find_cycles,
    plan,
    successors,
    topological_order,
)
from tasker_actors.workflow.retry import RetryPolicy
from tasker_actors.workflow.template import TaskTemplate

DIAMOND = {"end": ["left", "right"], "right": ["start"], "left": ["start"], "start": []}


def test_order_puts_dependencies_first_and_keeps_the_order_of_the_file_otherwise():
    assert topological_order(DIAMOND) == ("start", "right", "left", "end")
    assert topological_order({"c": [], "a": [], "b": []}) == ("c", "a", "b")


def test_a_step_freed_late_still_takes_its_place_of_the_file():
    assert topological_order({"first": ["last"], "second": ["last"], "third": [], "last": []}) == (
        "third",
        "last",
        "first",
        "second",
    )


def test_neighbours_near_and_far():
    assert successors(DIAMOND) == {"end": (), "right": ("end",), "left": ("end",), "start": ("right", "left")}
    assert ancestors(DIAMOND)["end"] == {"left", "right", "start"}
    assert descendants(DIAMOND)["start"] == {"left", "right", "end"}


def test_no_cycle_in_a_diamond():
    assert find_cycle(DIAMOND) is None


def test_a_cycle_is_returned_as_it_is_walked():
    graph = {"x": ["a"], "a": ["b"], "b": ["c"], "c": ["a"], "below": ["c"]}
    assert find_cycle(graph) == ("a", "b", "c", "a")
    with pytest.raises(ValueError, match="a -> b -> c -> a"):
        topological_order(graph)


def test_a_step_that_depends_on_itself_is_a_cycle():
    assert find_cycle({"a": ["a"]}) == ("a", "a")


def test_every_separate_cycle_is_found():
    graph = {"a": ["b"], "b": ["a"], "free": [], "c": ["d"], "d": ["c", "a"]}
    assert {frozenset(cycle) for cycle in find_cycles(graph)} == {frozenset("ab"), frozenset("cd")}


def test_unknown_and_repeated_dependencies_change_nothing():
    assert topological_order({"b": ["a", "a", "nowhere"], "a": []}) == ("a", "b")
    assert successors({"b": ["a", "a", "nowhere"], "a": []}) == {"b": (), "a": ("b",)}


@pytest.mark.timeout(20)
def test_a_long_chain_does_not_use_up_the_stack():
    chain = {f"s{number}": [f"s{number + 1}"] for number in range(20_000)}
    assert find_cycle({**chain, "s20000": []}) is None
    assert len(find_cycle({**chain, "s20000": ["s0"]}) or ()) == 20_002


def step(name, *dependencies, **more):
    return {"name": name, "handler": {"callable": "a.b"}, "dependencies": list(dependencies), **more}


def test_the_plan_numbers_steps_in_topological_order():
    steps = [
        step("end", "left", "right", timeout_seconds=5),
        step("right", "start", retry={"retryable": False, "max_attempts": 0}),
        step("left", "start", retry={"max_attempts": 7}),
        step("start"),
    ]
    template = TaskTemplate(name="t", namespace_name="n", version="1", steps=steps)
    start, right, left, end = plan(template)
    assert [planned.name for planned in (start, right, left, end)] == ["start", "right", "left", "end"]
    assert [planned.position for planned in (start, right, left, end)] == [1, 2, 3, 4]
    assert (start.dependencies, start.successors) == ((), (2, 3))
    assert (start.ancestors, start.descendants) == ((), (2, 3, 4))
    assert (end.dependencies, end.ancestors, end.descendants) == ((2, 3), (1, 2, 3), ())
    assert (right.max_attempts, right.retryable) == (1, False)
    assert (left.max_attempts, left.retryable) == (7, True)
    assert start.max_attempts == RetryPolicy().max_attempts
    assert (start.timeout_seconds, end.timeout_seconds) == (None, 5.0)
