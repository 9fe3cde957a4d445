"""Which steps exist: from the start, or when a decision or a batch has said so."""

from __future__ import annotations

from support.dynamic import APPROVAL, APPROVAL_TYPES, CSV, csv_types
from support.leases import template

from tasker_actors.workflow.conditional import Fate, initial_fates, settle
from tasker_actors.workflow.dag import plan
from tasker_actors.workflow.dynamic import branches

DECISION = {"type": "decision"}
CONVERGENCE = {"type": "deferred_convergence"}


def fates_of(graph, types, **known):
    steps = branches(template(graph, steps=types))
    return settle(steps, initial_fates(steps), **known)


def undecided(fates):
    return {name for name, fate in fates.items() if fate is Fate.UNDECIDED}


def gone(fates):
    return {name for name, fate in fates.items() if fate is Fate.GONE}


def test_what_is_below_a_decision_is_open_until_it_is_complete():
    assert undecided(fates_of(APPROVAL, APPROVAL_TYPES)) == {"small", "large", "finish"}
    decided = fates_of(APPROVAL, APPROVAL_TYPES, omitted=["small"], complete=["route"])
    assert (undecided(decided), gone(decided)) == (set(), {"small"})


def test_without_branches_all_that_only_they_lead_to_is_gone():
    decided = fates_of(APPROVAL, APPROVAL_TYPES, omitted=["small", "large"], complete=["route"])
    assert gone(decided) == {"small", "large", "finish"}


def test_a_convergence_that_depends_on_something_certain_is_there_from_the_start():
    graph = {"route": [], "branch": ["route"], "always": [], "end": ["branch", "always"], "after": ["end"]}
    types = {"route": DECISION, "end": CONVERGENCE}
    assert undecided(fates_of(graph, types)) == {"branch"}
    assert gone(fates_of(graph, types, omitted=["branch"], complete=["route"])) == {"branch"}


def test_a_convergence_that_depends_on_the_decision_itself_outlives_all_branches():
    graph = {"route": [], "branch": ["route"], "end": ["route", "branch"]}
    types = {"route": DECISION, "end": CONVERGENCE}
    assert undecided(fates_of(graph, types)) == {"branch"}


def test_a_step_below_two_decisions_needs_both():
    graph = {"one": [], "two": [], "both": ["one", "two"]}
    types = {"one": DECISION, "two": DECISION}
    assert undecided(fates_of(graph, types, complete=["one"])) == {"both"}
    assert undecided(fates_of(graph, types, complete=["one", "two"])) == set()
    assert gone(fates_of(graph, types, complete=["one"], omitted=["both"])) == {"both"}


def test_a_nested_decision_is_asked_only_if_it_exists():
    graph = {"outer": [], "inner": ["outer"], "deep": ["inner"], "end": ["deep"]}
    types = {"outer": DECISION, "inner": DECISION, "end": CONVERGENCE}
    assert undecided(fates_of(graph, types, complete=["outer"])) == {"deep", "end"}
    assert gone(fates_of(graph, types, complete=["outer"], omitted=["inner"])) == {"inner", "deep", "end"}


def test_a_batch_worker_exists_when_its_batch_is_known():
    assert undecided(fates_of(CSV, csv_types())) == {"work", "sum"}
    assert undecided(fates_of(CSV, csv_types(), complete=["analyze"])) == set()


def test_another_step_below_a_batchable_one_does_not_wait_to_exist():
    graph = {**CSV, "log": ["analyze"]}
    assert undecided(fates_of(graph, csv_types())) == {"work", "sum"}


def test_the_plan_says_what_the_database_needs_of_dynamic_steps():
    planned = {step.name: step for step in plan(template(CSV, steps=csv_types("fail_fast")))}
    work, gathering = planned["work"], planned["sum"]
    assert (planned["analyze"].kind, planned["analyze"].conditional) == ("batchable", False)
    assert (work.kind, work.conditional, work.tolerates_failure, work.cancels_siblings) == (
        "batch_worker",
        True,
        False,
        True,
    )
    assert (gathering.conditional, gathering.gathers) == (True, (work.position,))
    tolerant = {step.name: step for step in plan(template(CSV, steps=csv_types()))}["work"]
    assert (tolerant.tolerates_failure, tolerant.cancels_siblings) == (True, False)
