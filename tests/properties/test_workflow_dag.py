"""The graph's functions against models that try everything."""

from itertools import pairwise, permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasker_actors.workflow.dag import (
    ancestors,
    descendants,
    find_cycle,
    find_cycles,
    plan,
    successors,
    topological_order,
)
from tasker_actors.workflow.template import TaskTemplate

NAMES = "abcdef"


@st.composite
def graphs(draw, *, acyclic=False):
    names = draw(st.permutations(NAMES[: draw(st.integers(1, len(NAMES)))]))
    if acyclic:
        rank = draw(st.permutations(names))
        allowed = {name: rank[: rank.index(name)] for name in names}
    else:
        allowed = {name: [*names, "unknown"] for name in names}
    return {name: draw(st.lists(st.sampled_from(allowed[name]), max_size=4)) if allowed[name] else [] for name in names}


def reachable(graph):
    """Everything that each step depends on, by repeating until nothing is added."""
    found = {name: {needed for needed in needs if needed in graph} for name, needs in graph.items()}
    for _ in graph:
        for name in graph:
            found[name] |= {further for needed in found[name] for further in found[needed]}
    return found


@given(graphs())
def test_there_is_a_cycle_exactly_where_a_step_reaches_itself(graph):
    circular = any(name in below for name, below in reachable(graph).items())
    cycle = find_cycle(graph)
    assert (cycle is not None) is circular
    if cycle is None:
        assert len(topological_order(graph)) == len(graph)
        return
    assert cycle[0] == cycle[-1]
    assert len(set(cycle)) == len(cycle) - 1
    assert all(needed in graph[name] for name, needed in pairwise(cycle))
    with pytest.raises(ValueError, match="circle"):
        topological_order(graph)


@given(graphs())
def test_cycles_share_no_step_and_without_them_there_is_an_order(graph):
    cycles = [set(cycle) for cycle in find_cycles(graph)]
    in_cycles = set().union(*cycles)
    assert len(in_cycles) == sum(map(len, cycles))
    left = {name: needs for name, needs in graph.items() if name not in in_cycles}
    assert find_cycle(left) is None


@given(graphs(acyclic=True))
def test_the_order_is_the_first_possible_one_by_places_in_the_file(graph):
    names = list(graph)
    possible = (
        order
        for order in permutations(names)
        if all(order.index(needed) < order.index(name) for name in names for needed in graph[name])
    )
    assert topological_order(graph) == min(possible, key=lambda order: [names.index(name) for name in order])


@given(graphs(acyclic=True))
def test_ancestors_descendants_and_successors_agree_with_the_model(graph):
    model = reachable(graph)
    assert ancestors(graph) == model
    assert descendants(graph) == {name: {other for other in graph if name in model[other]} for name in graph}
    assert {(needed, name) for needed, after in successors(graph).items() for name in after} == {
        (needed, name) for name, needs in graph.items() for needed in needs
    }


@given(graphs(acyclic=True))
def test_the_plan_says_the_same_in_numbers(graph):
    steps = [
        {"name": name, "handler": {"callable": "x"}, "dependencies": list(dict.fromkeys(needs))}
        for name, needs in graph.items()
    ]
    planned = plan(TaskTemplate(name="t", namespace_name="n", version="1", steps=steps))
    assert [step.position for step in planned] == list(range(1, len(graph) + 1))
    by_position = {step.position: step for step in planned}
    model = reachable(graph)
    for step in planned:
        assert {by_position[number].name for number in step.dependencies} == set(graph[step.name])
        assert {by_position[number].name for number in step.ancestors} == model[step.name]
        assert all(number < step.position for number in step.ancestors)
        assert all(step.position in by_position[number].dependencies for number in step.successors)
        assert all(step.position in by_position[number].ancestors for number in step.descendants)
        assert sorted(step.descendants) == list(step.descendants)
