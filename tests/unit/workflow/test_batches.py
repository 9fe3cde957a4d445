"""What a batchable step may say, and the instances that follow from it."""

from __future__ import annotations

import pytest
from support.dynamic import CSV, batches, csv_types, divided, ranges
from support.leases import template

from tasker_actors.workflow.dynamic import dynamic_steps
from tasker_actors.workflow.outcome_fault import OutcomeFault


def read(outcome, types=None, graph=None, max_workers=10_000):
    point = dynamic_steps(template(graph or CSV, steps=types or csv_types()))["analyze"].batches
    assert point is not None
    return point.batches(outcome.result, max_workers=max_workers)


def test_each_range_is_an_instance_with_a_number_of_three_digits_or_more():
    found = read(divided(1_001))
    assert (found.worker, found.omitted, len(found.instances)) == ("work", (), 1_001)
    assert [found.instances[n].name for n in (0, 998, 1_000)] == ["work_001", "work_999", "work_1001"]
    assert found.instances[2].inputs["cursor"] == {
        "batch_id": "003",
        "start_cursor": 20,
        "end_cursor": 30,
        "batch_size": 10,
    }


def test_the_configuration_is_the_workers_or_else_that_of_the_step_that_divides():
    config = {"worker_template": "work", "batch_size": 5, "cursor_field": "row", "failure_strategy": "isolate"}
    types = {**csv_types(), "analyze": {"type": "batchable", "batch_config": config}, "work": {"type": "batch_worker"}}
    expected = {"checkpoint_interval": 5, "cursor_field": "row", "failure_strategy": "isolate"}
    assert read(divided(1), types).instances[0].inputs["batch_metadata"] == expected
    types["work"]["batch_config"] = {**config, "failure_strategy": "fail_fast"}
    assert read(divided(1), types).instances[0].inputs["batch_metadata"]["failure_strategy"] == "fail_fast"


def test_without_batches_each_worker_runs_once_and_has_nothing_to_do():
    found = read(divided(0))
    assert (found.worker, found.instances, list(found.placeholders)) == (None, (), ["work"])
    assert found.placeholders["work"]["is_no_op"] is True
    assert found.placeholders["work"]["cursor"]["batch_size"] == 0


def test_of_two_workers_the_one_that_is_not_named_is_left_out():
    graph = {**CSV, "other": ["analyze"], "sum": ["work", "other"]}
    types = {**csv_types(), "other": {"type": "batch_worker"}}
    found = read(divided(2, "other"), types, graph)
    assert (found.worker, found.omitted) == ("other", ("work",))


@pytest.mark.parametrize(
    ("start", "end"),
    [(0, 1), (0.5, 2), ("a", "b"), ("9", "10"), ("2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z"), ([1], [2])],
)
def test_cursors_may_be_any_json(start, end):
    assert read(batches([{"batch_id": 1, "start_cursor": start, "end_cursor": end}])).instances


def changed(**changes):
    return [{**ranges(2)[0], **changes}, ranges(2)[1]]


@pytest.mark.parametrize(
    ("outcome", "words"),
    [
        (batches(ranges(2), worker_count=3), "worker_count: is 3, but there are 2 cursor_configs"),
        (batches(ranges(2), worker_count=0), "worker_count: must be a whole number of at least 1, not 0"),
        (batches(ranges(2), worker_count=True), "worker_count: must be a whole number of at least 1, not True"),
        (batches([], worker_count=0), "worker_count: must be a whole number of at least 1"),
        (batches(ranges(2), "wrok"), "no batch_worker 'wrok' depends on this step, but work (did you mean 'work'?)"),
        (batches(ranges(2), "sum"), "worker_template_name: no batch_worker 'sum'"),
        (batches(ranges(2), None), "worker_template_name: no batch_worker None"),
        (batches(ranges(2), ["work"]), "worker_template_name: no batch_worker ['work'] depends on this step, but work"),
        (batches(ranges(2), {"name": "work"}), "worker_template_name: no batch_worker {'name': 'work'}"),
        (batches(ranges(2), type="create_batch"), "did you mean 'create_batches'?"),
        (batches(ranges(2), total_items=-1), "total_items: must be a whole number of at least 0, not -1"),
        (batches(ranges(2), cursor_configs={}), "cursor_configs: must be a list, not {}"),
        (batches([7]), "cursor_configs[0]: must be a mapping, not 7"),
        (batches([{"batch_id": "1", "start": 0, "end_cursor": 1}]), "cursor_configs[0].start_cursor: is missing"),
        (batches(changed(batch_id=[])), "cursor_configs[0].batch_id: must be text, not []"),
        (batches(changed(batch_id=True)), "cursor_configs[0].batch_id: must be text, not True"),
        (batches(changed(batch_id="002")), "cursor_configs[1].batch_id: '002' is that of cursor_configs[0] too"),
        (batches(changed(batch_size=0)), "batch_size: must be a whole number of at least 1, not 0"),
        (batches(changed(end_cursor=0)), "cursor_configs[0]: the range from 0 to 0 is empty"),
        (batches(changed(end_cursor=-5)), "cursor_configs[0]: the range from 0 to -5 is empty"),
        (batches(changed(start_cursor="b", end_cursor="a")), "the range from 'b' to 'a' is empty"),
        (batches(changed(end_cursor=11)), "cursor_configs[1]: its range overlaps that of cursor_configs[0]"),
        (batches([*reversed(changed(end_cursor=11))]), "cursor_configs[0]: its range overlaps that of"),
        (batches([]).__class__({"ok": 1}), "result.batch_processing_outcome: is missing"),
        (batches([]).__class__(None), "result: must be a mapping, not None"),
    ],
)
def test_anything_else_names_template_step_key_and_the_nearest_name(outcome, words):
    with pytest.raises(OutcomeFault) as caught:
        read(outcome)
    assert str(caught.value).startswith("batchable step 'analyze' of template shop/work@1.0.0: ")
    assert words in str(caught.value)
    assert caught.value.error_type == "invalid_batches"


def cut(*pairs):
    """A batch of these ranges."""
    configs = [{"batch_id": n, "start_cursor": start, "end_cursor": end} for n, (start, end) in enumerate(pairs)]
    return batches(configs)


@pytest.mark.parametrize(
    ("outcome", "words"),
    [
        (cut(("1", "500"), ("400", "1000")), "cursor_configs[1]: its range overlaps that of cursor_configs[0]"),
        (cut(("400", "1000"), ("1", "500")), "cursor_configs[0]: its range overlaps that of cursor_configs[1]"),
        (cut((1, "500"), ("400", 1000)), "overlaps"),
        (cut(("-5", "+5"), ("0", "10")), "overlaps"),
        (cut((0.5, 2), (1.5, 3)), "overlaps"),
        (cut(("2026-01-01", "2026-03-01"), ("2026-02-01", "2026-04-01")), "overlaps"),
        (cut(("1", "10"), ("10", "9")), "cursor_configs[1]: the range from '10' to '9' is empty"),
        (cut(("007", "7"), ("8", "10")), "cursor_configs[0]: the range from '007' to '7' is empty"),
        (cut((1, "1")), "cursor_configs[0]: the range from 1 to '1' is empty"),
        (cut(("9" * 5_000, "1" + "0" * 4_999)), "is empty"),
        (cut(("2026-02-01", "2026-01-01"), ("a", "bc")), "cursor_configs[0]: the range from '2026-02-01'"),
        (cut((10, 5), ("a", "bc")), "cursor_configs[0]: the range from 10 to 5 is empty"),
        (cut(([1], [1]), ("a", "bc")), "cursor_configs[0]: the range from [1] to [1] is empty"),
    ],
)
def test_ranges_that_are_empty_or_overlap_are_refused_where_the_order_of_cursors_is_known(outcome, words):
    with pytest.raises(OutcomeFault) as caught:
        read(outcome)
    assert words in str(caught.value)


@pytest.mark.parametrize(
    "outcome",
    [
        cut(("1", "500"), ("500", "1000")),
        cut(("9", "10"), ("10", "11")),
        cut((1, 2), ("2", 3.5)),
        # Keys that are texts have an order of their own: there "10" is before "9", and "9" before "zz".
        cut(("10", "9"), ("9", "zz")),
        cut(("a", "mm"), ("b", "zz")),
        cut(([1], [5]), ([2], [7])),
        cut((True, False), (1, 2)),
    ],
)
def test_ranges_are_taken_as_they_are_where_it_is_not(outcome):
    assert len(read(outcome).instances) == 2


def test_there_are_no_more_instances_than_the_setting_allows():
    assert len(read(divided(4), max_workers=4).instances) == 4
    with pytest.raises(OutcomeFault, match=r"is 5; batches\.max_workers is 4"):
        read(divided(5), max_workers=4)
