"""Templates whose decisions, convergences and batches cannot work are refused when they are loaded."""

from __future__ import annotations

import orjson
import pytest
from support.dynamic import APPROVAL, APPROVAL_TYPES, CSV, csv_types

from tasker_actors.workflow.load import parse_template

CONVERGENCE = {"type": "deferred_convergence"}
DECISION = {"type": "decision"}


def faults_of(graph, types, max_decision_depth=20):
    document = {
        "name": "work",
        "namespace_name": "shop",
        "version": "1.0.0",
        "steps": [
            {"name": name, "handler": {"callable": "shop.any"}, "dependencies": needs, **types.get(name, {})}
            for name, needs in graph.items()
        ],
    }
    text = orjson.dumps(document).decode()
    found = parse_template(text, file="t.yaml", environment="test", max_decision_depth=max_decision_depth)[1]
    return [(fault.step, fault.key, fault.message) for fault in found]


def test_sound_templates_have_no_faults():
    assert faults_of(APPROVAL, APPROVAL_TYPES) == []
    assert faults_of(CSV, csv_types()) == []


def test_a_worker_may_depend_on_what_its_batchable_step_depends_on():
    graph = {"first": [], "analyze": ["first"], "work": ["analyze", "first"], "sum": ["work"]}
    assert faults_of(graph, csv_types()) == []


@pytest.mark.parametrize(
    ("graph", "types", "step", "key", "words"),
    [
        ({"a": [], "end": ["a"]}, {"end": CONVERGENCE}, "end", "type", "below a decision or a batch_worker"),
        ({"end": []}, {"end": CONVERGENCE}, "end", "type", "below a decision or a batch_worker"),
        ({"analyze": []}, {"analyze": {"type": "batchable"}}, "analyze", "type", "no batch_worker depends on this"),
        (
            {**CSV, "stray": ["sum"]},
            {**csv_types(), "stray": {"type": "batch_worker"}},
            "stray",
            "dependencies",
            "depends on exactly one batchable step; known ones are analyze",
        ),
        (
            {**CSV, "divide": [], "work": ["analyze", "divide"]},
            {**csv_types(), "divide": {"type": "batchable"}},
            "work",
            "dependencies",
            "depends on exactly one batchable step; it depends on analyze, divide",
        ),
        (
            {**CSV, "aside": [], "work": ["analyze", "aside"]},
            csv_types(),
            "work",
            "dependencies",
            "'aside' is not above 'analyze'",
        ),
        ({**CSV, "work_001": []}, csv_types(), "work_001", "name", "how an instance of batch_worker 'work' is named"),
        (
            CSV,
            {**csv_types(), "analyze": {"type": "batchable", "batch_config": {"worker_template": "wrok"}}},
            "analyze",
            "batch_config.worker_template",
            "there is no batch_worker 'wrok' (did you mean 'work'?)",
        ),
        (
            CSV,
            {**csv_types(), "analyze": {"type": "batchable", "batch_config": {"worker_template": "sum"}}},
            "analyze",
            "batch_config.worker_template",
            "'sum' is no batch_worker",
        ),
    ],
)
def test_each_fault_names_step_key_and_what_to_do(graph, types, step, key, words):
    found = faults_of(graph, types)
    assert [(one, where) for one, where, _ in found] == [(step, key)]
    assert words in found[0][2]


def test_decisions_follow_each_other_no_deeper_than_the_setting_allows():
    graph = {"d0": [], **{f"d{n}": [f"d{n - 1}"] for n in range(1, 4)}}
    types = dict.fromkeys(graph, DECISION)
    assert faults_of(graph, types, max_decision_depth=4) == []
    found = faults_of(graph, types, max_decision_depth=3)
    assert [(step, key) for step, key, _ in found] == [("d3", "type")]
    assert "decision number 4 on one way through the graph; decisions.max_depth is 3" in found[0][2]


def test_what_has_the_wrong_type_is_told_by_the_models_alone():
    found = faults_of(CSV, {**csv_types(), "work": {"type": 7, "batch_config": "none"}})
    assert {(step, key) for step, key, _ in found} >= {("work", "type"), ("work", "batch_config")}
