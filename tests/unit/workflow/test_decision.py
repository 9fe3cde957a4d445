"""What a decision may say, and what is said to its author otherwise."""

from __future__ import annotations

import pytest
from support.dynamic import APPROVAL, APPROVAL_TYPES, chosen
from support.leases import template

from tasker_actors.workflow.dynamic import dynamic_steps
from tasker_actors.workflow.outcome_fault import OutcomeFault

NESTED = {
    "route": [],
    "left": ["route"],
    "right": ["route"],
    "after": ["left"],
    "inner": ["right"],
    "deep": ["inner"],
    "end": ["after", "deep"],
    "aside": [],
}
NESTED_TYPES = {"route": {"type": "decision"}, "inner": {"type": "decision"}, "end": {"type": "deferred_convergence"}}


def omits(result, graph=None, types=None, step="route", max_steps=100):
    point = dynamic_steps(template(graph or APPROVAL, steps=types or APPROVAL_TYPES))[step].decision
    assert point is not None
    return point.omits(result, max_steps=max_steps)


def test_what_is_not_named_is_left_out():
    assert omits(chosen("large").result) == ("small",)
    assert omits(chosen("small", "large").result) == ()
    assert omits(chosen().result) == ("small", "large")
    assert omits({"decision_point_outcome": {"type": "no_branches", "reason": "nothing to do"}}) == ("small", "large")


def test_later_steps_that_exist_anyway_may_be_named_too():
    assert omits(chosen("large", "finish").result) == ("small",)
    assert omits(chosen("left", "after", "end").result, NESTED, NESTED_TYPES) == ("right",)


@pytest.mark.parametrize(
    ("result", "words"),
    [
        ({"ok": True}, "result.decision_point_outcome: is missing"),
        ({"decision_point_outcom": {}}, "did you mean 'decision_point_outcom'?"),
        ([], "result: must be a mapping, not []"),
        ({"decision_point_outcome": "large"}, "decision_point_outcome: must be a mapping, not 'large'"),
        ({"decision_point_outcome": {}}, "decision_point_outcome.type: is missing"),
        ({"decision_point_outcome": {"type": "create_step"}}, "did you mean 'create_steps'?"),
        ({"decision_point_outcome": {"type": 7}}, "must be one of create_steps, no_branches, not 7"),
        ({"decision_point_outcome": {"type": "create_steps"}}, "step_names: is missing"),
        ({"decision_point_outcome": {"type": "create_steps", "step_names": "large"}}, "must be a list, not 'large'"),
        ({"decision_point_outcome": {"type": "create_steps", "step_names": []}}, "say so with type 'no_branches'"),
        (chosen("larg").result, "step_names[0]: there is no step 'larg' (did you mean 'large'?)"),
        (chosen("small", "large", "small").result, "step_names[2]: 'small' is named twice"),
        (
            chosen("large", "validate").result,
            "'validate' does not depend on this decision; its choices are small, large",
        ),
        ({"decision_point_outcome": {"type": "create_steps", "step_names": [None]}}, "there is no step None"),
    ],
)
def test_anything_else_names_template_step_key_and_the_nearest_name(result, words):
    with pytest.raises(OutcomeFault) as caught:
        omits(result)
    assert str(caught.value).startswith("decision 'route' of template shop/work@1.0.0: ")
    assert words in str(caught.value)
    assert caught.value.error_type == "invalid_decision"


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (["left", "deep"], "'deep' would not exist: not all that it depends on is named"),
        (["right", "deep"], "'deep' is decided later, by a step that has not run yet"),
        (["right", "after"], "'after' would not exist"),
        (["left", "aside"], "'aside' does not depend on this decision"),
    ],
)
def test_a_later_step_that_would_not_exist_is_refused(names, words):
    with pytest.raises(OutcomeFault, match=words):
        omits(chosen(*names).result, NESTED, NESTED_TYPES)


def test_a_decision_names_no_more_steps_than_the_setting_allows():
    graph = {"route": [], **{f"branch{n}": ["route"] for n in range(4)}}
    names = [f"branch{n}" for n in range(4)]
    assert omits(chosen(*names).result, graph, {"route": {"type": "decision"}}, max_steps=4) == ()
    with pytest.raises(OutcomeFault, match=r"names 4 steps; decisions\.max_steps is 3"):
        omits(chosen(*names).result, graph, {"route": {"type": "decision"}}, max_steps=3)


def test_a_decision_that_nothing_depends_on_still_has_to_decide():
    assert omits(chosen().result, {"route": []}, {"route": {"type": "decision"}}) == ()
    with pytest.raises(OutcomeFault, match="is missing"):
        omits({}, {"route": []}, {"route": {"type": "decision"}})
