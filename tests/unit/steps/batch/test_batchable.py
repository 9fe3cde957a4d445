import pytest

from tasker_actors import StepHandler
from tasker_actors.steps.batch.aggregation import BatchAggregationScenario
from tasker_actors.steps.batch.batchable import Batchable
from tasker_actors.steps.batch.outcomes import BatchWorkerOutcome, create_batches, no_batches


class Handler(StepHandler, Batchable):
    handler_name = "rows.any"

    def call(self, context): ...


KIT = Handler()
CURSOR = {"batch_id": "003", "start_cursor": 200, "end_cursor": 300, "batch_size": 100}
INPUTS = {
    "cursor": CURSOR,
    "batch_metadata": {"checkpoint_interval": None, "cursor_field": "id", "failure_strategy": "fail_fast"},
    "is_no_op": False,
}


# analyses


def test_an_analysis_asks_for_one_worker_a_range():
    outcome = KIT.create_batch_outcome(250, 100, batch_metadata={"source": "a file"})

    result = KIT.batch_analyzer_success(outcome, {"took": 1}, worker_template_name="process_rows")

    assert result.result == {
        "batch_processing_outcome": {
            "type": "create_batches",
            "worker_template_name": "process_rows",
            "worker_count": 3,
            "cursor_configs": [
                {"batch_id": "001", "start_cursor": 0, "end_cursor": 100, "batch_size": 100},
                {"batch_id": "002", "start_cursor": 100, "end_cursor": 200, "batch_size": 100},
                {"batch_id": "003", "start_cursor": 200, "end_cursor": 250, "batch_size": 50},
            ],
            "total_items": 250,
        },
        "worker_count": 3,
        "total_items": 250,
        "batch_metadata": {"source": "a file"},
    }
    assert result.metadata == {"took": 1, "batch_analyzer": True}


def test_ranges_of_ones_own_count_their_items():
    outcome = KIT.create_batch_outcome_from_ranges([(0, 5), (10, 20)])
    given = KIT.batch_analyzer_success(cursor_configs=[KIT.create_cursor_config(3, 9, metadata={"half": 1})])

    assert [one.batch_id for one in KIT.create_cursor_configs(10, 2)] == ["001", "002"]
    assert KIT.batch_analyzer_success(outcome).result["total_items"] == 15
    assert given.result["total_items"] == 6
    assert "batch_metadata" not in given.result


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ({}, "no_cursor_configs_provided"),
        ({"cursor_configs": []}, "empty_dataset"),
        ({"cursor_configs": [], "batch_metadata": {"reason": "no file"}}, "no file"),
        ({"outcome": KIT.create_batch_outcome(0, 10)}, "empty_dataset"),
    ],
)
def test_no_ranges_are_no_batches_with_a_reason(arguments, reason):
    result = KIT.batch_analyzer_success(**arguments)

    assert result.result["batch_processing_outcome"] == no_batches().model_dump() == {"type": "no_batches"}
    assert result.result["reason"] == reason
    assert result.metadata == {"batch_analyzer": True, "no_batches": True}


def test_a_wrong_number_of_workers_is_refused():
    with pytest.raises(ValueError, match="worker_count is 2 and there are 0 cursor_configs"):
        create_batches("rows", 2, [], 0)


# workers


def test_a_worker_reads_its_range_and_its_checkpoint(make_context):
    context = make_context(step_inputs=INPUTS, checkpoint={"cursor": 250, "items_processed": 50})

    batch = KIT.get_batch_context(context)

    assert (batch.batch_id, batch.start_cursor, batch.end_cursor, batch.step_size) == ("003", 200, 300, 100)
    assert (batch.batch_index, batch.is_no_op) == (2, False)
    assert batch.batch_metadata["cursor_field"] == "id"
    assert batch.has_checkpoint()
    assert (batch.checkpoint_cursor, batch.checkpoint_items_processed, batch.accumulated_results) == (250, 50, None)
    assert KIT.get_batch_worker_inputs(context).cursor.end_cursor == 300


def test_a_batch_in_the_older_place_is_found_too(make_context):
    document = {"batch_id": "b", "batch_index": 4, "total_batches": 9, "cursor_config": {"end_cursor": 7}}
    for place in ("step_config", "input_data"):
        batch = KIT.get_batch_context(make_context(**{place: {"batch_context": document}}))
        assert (batch.batch_index, batch.total_batches, batch.end_cursor, batch.step_size) == (4, 9, 7, 1)
        assert not batch.has_checkpoint()


@pytest.mark.parametrize("inputs", [{}, {"other": 1}])
def test_a_step_that_is_no_worker_has_no_batch(make_context, inputs):
    context = make_context(step_inputs=inputs)

    assert KIT.get_batch_context(context) is None
    assert KIT.get_batch_worker_inputs(context) is None
    assert KIT.handle_no_op_worker(context) is None


def test_inputs_that_are_none_of_a_batch_are_no_inputs(make_context):
    assert KIT.get_batch_worker_inputs(make_context(step_inputs={"cursor": {"batch_id": []}})) is None


@pytest.mark.parametrize("inputs", [{"is_no_op": True}, {"is_no_op": True, "cursor": None, "batch_metadata": None}])
def test_a_placeholder_completes_by_itself(make_context, inputs):
    context = make_context(step_inputs=inputs)

    result = KIT.handle_no_op_worker(context).result

    assert (result["no_op"], result["processed_count"], result["batch_id"]) == (True, 0, "no_op")
    assert KIT.get_batch_context(context).is_no_op
    assert KIT.handle_no_op_worker(make_context(step_inputs=INPUTS)) is None


def test_a_worker_completes_with_its_counts_or_an_outcome():
    counted = KIT.batch_worker_success(items_processed=5, errors=[{"row": 1}], last_cursor=9, metadata={"a": 1})
    outcome = KIT.create_worker_outcome(10, items_failed=3, items_skipped=2)

    assert counted.result == {
        "items_processed": 5,
        "items_succeeded": 5,
        "items_failed": 0,
        "items_skipped": 0,
        "errors": [{"row": 1}],
        "last_cursor": 9,
        "batch_metadata": {},
    }
    assert counted.metadata == {"a": 1, "batch_worker": True}
    assert KIT.batch_worker_success(outcome).result["items_succeeded"] == 5
    assert KIT.create_worker_outcome(4, items_failed=4).items_succeeded == 0


def test_a_worker_without_counts_has_failed():
    result = KIT.batch_worker_success()

    assert (result.is_success, result.error_type, result.retryable) == (False, "invalid_args", False)


def test_some_failed_items_are_a_success_that_says_so():
    outcome = BatchWorkerOutcome(items_processed=2, items_failed=1, results=[{"id": 1}])

    result = KIT.batch_worker_partial_failure(outcome, "one is broken")

    assert result.is_success
    assert (result.result["partial_failure"], result.result["partial_failure_message"]) == (True, "one is broken")
    assert result.metadata == {"batch_worker": True, "had_failures": True}
    assert "partial_failure_message" not in KIT.batch_worker_partial_failure(outcome).result


def test_a_checkpoint_has_the_shape_that_the_runtime_reads():
    result = KIT.checkpoint_yield(50, 50, {"sum": 3})

    assert result.result == {
        "type": "checkpoint_yield",
        "cursor": 50,
        "items_processed": 50,
        "accumulated_results": {"sum": 3},
    }
    assert result.metadata == {"batch_worker": True, "checkpoint_yield": True}
    assert "accumulated_results" not in KIT.checkpoint_yield("page-2", 0).result


def test_a_context_for_tests_can_be_made_by_hand():
    batch = KIT.create_batch_context(KIT.create_cursor_ranges(10, 5)[1], 1, 2, {"a": 1})

    assert (batch.start_cursor, batch.end_cursor, batch.total_batches, batch.batch_metadata) == (5, 10, 2, {"a": 1})


# convergence

ANALYSIS = KIT.batch_analyzer_success(KIT.create_batch_outcome(4, 2), worker_template_name="rows").result


def test_a_convergence_finds_the_workers():
    results = {"analyze": ANALYSIS, "rows_001": {"items_processed": 2}, "rows_002": 7, "other": {}}

    scenario = KIT.detect_aggregation_scenario(results, "analyze", "rows_")

    assert not scenario.no_batches()
    assert scenario.batch_results == {"rows_001": {"items_processed": 2}, "rows_002": {}}
    assert scenario.worker_count == 2


def test_results_inside_records_of_executions_are_found_as_well():
    results = {"analyze": {"result": ANALYSIS, "success": True}, "rows_001": {"result": {"count": 1}}}

    assert KIT.detect_aggregation_scenario(results, "analyze", "rows_").batch_results == {"rows_001": {"count": 1}}


def test_no_batches_need_no_workers():
    results = {"analyze": KIT.no_batches_outcome("nothing to do", {"file": "f"}).result}

    scenario = KIT.detect_aggregation_scenario(results, "analyze", "rows_")

    assert scenario.is_no_batches
    assert scenario.batchable_result["file"] == "f"
    assert KIT.aggregate_batch_worker_results(scenario, {"total": 0}).result == {
        "worker_count": 0,
        "scenario": "no_batches",
        "total": 0,
    }


@pytest.mark.parametrize(
    ("results", "named"),
    [
        ({"rows_001": {}}, r"no result of the batchable step 'analyze' \(there are: rows_001\)"),
        ({}, "there are: none"),
        ({"analyze": ANALYSIS}, "no step with the prefix 'rows_' has a result"),
        ({"analyze": 5}, "no step with the prefix"),
    ],
)
def test_what_is_missing_for_a_convergence_is_named(results, named):
    with pytest.raises(ValueError, match=named):
        BatchAggregationScenario.detect(results, "analyze", "rows_")


def test_results_are_passed_on_or_brought_together():
    scenario = BatchAggregationScenario(
        is_no_batches=False, batchable_result={}, batch_results={"r_1": {"n": 1}, "r_2": {"n": 2}}, worker_count=2
    )

    passed = KIT.aggregate_batch_worker_results(scenario).result
    summed = KIT.aggregate_batch_worker_results(
        scenario, aggregation_fn=lambda results: {"n": sum(one["n"] for one in results.values())}
    ).result

    assert passed["batch_results"] == scenario.batch_results
    assert summed == {"n": 3, "worker_count": 2, "scenario": "with_batches"}


def test_counts_of_workers_are_added_up():
    results = [
        {"items_processed": 10, "items_succeeded": 8, "items_failed": 2, "errors": [{"i": i} for i in range(80)]},
        None,
        {"items_processed": 10, "items_succeeded": 10, "items_skipped": 1, "errors": [{"i": i} for i in range(80)]},
    ]

    total = Batchable.aggregate_worker_results(results)

    assert (total["total_processed"], total["total_succeeded"], total["total_failed"]) == (20, 18, 2)
    assert (total["batch_count"], total["success_rate"]) == (2, 0.9)
    assert (len(total["errors"]), total["error_count"]) == (100, 160)
    assert Batchable.aggregate_worker_results([])["success_rate"] == 0.0
