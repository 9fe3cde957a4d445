def test_a_context_can_be_seen_as_tasker_py_shows_it(make_context):
    context = make_context(
        input_data={"even": 6},
        dependency_results={"first": {"value": 36}},
        step_config={"operation": "square"},
        step_inputs={"is_no_op": False},
        retry_count=1,
        checkpoint={"cursor": 4},
    )

    seen = context.task_sequence_step

    assert seen.get_task_field("even") == seen.task.context["even"] == 6
    assert seen.get_task_field("odd") is None
    assert seen.get_dependency_result("first") == seen.get_results("first") == {"value": 36}
    assert seen.dependency_results["first"] == seen.dependency_results.get_results("first")
    assert ("first" in seen.dependency_results, list(seen.dependency_results)) == (True, ["first"])
    assert seen.dependency_results.keys() == ["first"]
    assert (seen.workflow_step.attempts, seen.workflow_step.max_attempts) == (1, 3)
    assert (seen.workflow_step.checkpoint, seen.workflow_step.inputs) == ({"cursor": 4}, {"is_no_op": False})
    assert seen.step_definition.handler.initialization == {"operation": "square"}
    assert seen.task.namespace_name == "flights"
    assert type(seen.dependency_results).from_dict(None).get_result("x") is None


def test_a_context_reads_its_checkpoint(make_context):
    document = {"cursor": "page-2", "items_processed": 20, "accumulated_results": {"sum": 1}}
    fresh, resumed = make_context(), make_context(checkpoint=document)

    assert (fresh.has_checkpoint(), fresh.checkpoint_cursor, fresh.checkpoint_items_processed) == (False, None, 0)
    assert fresh.accumulated_results is None
    assert (resumed.has_checkpoint(), resumed.checkpoint_cursor) == (True, "page-2")
    assert (resumed.checkpoint_items_processed, resumed.accumulated_results) == (20, {"sum": 1})
