"""Whatever decisions say, and in whatever order: who exists is known in the end, and never changes on the way."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tasker_actors.workflow.conditional import Branch, Fate, decides, initial_fates, settle
from tasker_actors.workflow.step_type import StepType

KINDS = [StepType.STANDARD, StepType.DECISION, StepType.DEFERRED_CONVERGENCE]


@st.composite
def workflows(draw: st.DrawFn) -> tuple[dict[str, Branch], dict[str, list[str]]]:
    """Steps in order, and what each decision leaves out."""
    steps: dict[str, Branch] = {}
    for number in range(draw(st.integers(2, 12))):
        needs = draw(st.sets(st.sampled_from(list(steps)), max_size=3)) if steps else set()
        kind = draw(st.sampled_from(KINDS if needs else KINDS[:2]))
        steps[f"s{number}"] = Branch(kind, sorted(needs))
    omitted = {}
    for name, step in steps.items():
        if step.kind is StepType.DECISION:
            choices = [
                one for one, other in steps.items() if name in other.dependencies and decides(step.kind, other.kind)
            ]
            omitted[name] = draw(st.lists(st.sampled_from(choices), unique=True)) if choices else []
    return steps, omitted


def run(steps: dict[str, Branch], omitted: dict[str, list[str]], pick: st.DataObject) -> dict[str, Fate]:
    """Let decisions be made, in some order, until none is left that exists."""
    fates, complete = initial_fates(steps), list[str]()
    while ready := [name for name in omitted if name not in complete and fates[name] is Fate.EXISTS]:
        name = pick.draw(st.sampled_from(ready))
        complete.append(name)
        after = settle(steps, fates, omitted=omitted[name], complete=complete)
        assert all(after[one] is fate for one, fate in fates.items() if fate is not Fate.UNDECIDED)
        fates = after
    return fates


@given(workflows(), st.data())
def test_the_order_of_decisions_does_not_matter_and_nothing_stays_open(workflow, data):
    steps, omitted = workflow
    fates = run(steps, omitted, data)

    assert Fate.UNDECIDED not in fates.values()
    assert fates == run(steps, omitted, data)


@given(workflows(), st.data())
def test_a_step_exists_if_all_that_it_needs_does_and_a_convergence_if_anything_does(workflow, data):
    steps, omitted = workflow
    fates = run(steps, omitted, data)

    for name, step in steps.items():
        exist = [fates[needed] is Fate.EXISTS for needed in step.dependencies]
        if step.kind is StepType.DEFERRED_CONVERGENCE:
            assert (fates[name] is Fate.EXISTS) == any(exist)
        else:
            left_out = any(
                name in omitted.get(needed, ()) for needed in step.dependencies if fates[needed] is Fate.EXISTS
            )
            assert (fates[name] is Fate.EXISTS) == (all(exist) and not left_out)
