"""Events that cannot be published: dead letters of their own, and the step is none the worse (SPEC 2 rule 2)."""

from __future__ import annotations

import json

import pytest
from support.publishing_project import Difference, publishing, run


@pytest.fixture(scope="module")
def one(tmp_path_factory, embedded_server):
    with publishing(tmp_path_factory.mktemp("events") / "project", embedded_server) as found:
        yield found


def test_a_payload_against_its_schema_is_a_dead_letter_and_the_step_stays_complete(one):
    difference = Difference(one)

    task_uuid = run(one, "schema", context={"value": 3})

    assert [row["message"]["event_name"] for row in one.messages("ev", task_uuid)] == ["without.schema"]
    (letter,) = one.dead_letters("ev", task_uuid)
    assert letter["event"]["event_name"] == "with.schema"
    assert "payload" not in letter["event"]
    assert letter["payload"] == {"value": 3, "big": ""}
    assert json.loads(letter["payload_repr"].replace("'", '"')) == letter["payload"]
    assert (letter["reason"]["code"], letter["reason"]["path"]) == ("schema_violation", "/value")
    assert "10" in letter["reason"]["message"]
    assert letter["failed_at"].endswith("Z")
    difference.wait("router", total_routed=2, durable_routed=1, routing_errors=1)
    labels = {"namespace": "ev", "event_name": "with.schema", "delivery_mode": "durable", "publisher": "default"}
    assert one.metrics()["tasker_domain_events_failed_total"][frozenset(labels.items())] == 1
    assert one.metrics()["tasker_domain_events_published_total"][frozenset(labels.items())] == 0


def test_what_is_no_json_is_refused_event_by_event(one):
    difference = Difference(one)

    task_uuid = run(one, "unpublishable")

    assert [row["message"]["event_name"] for row in one.messages("ev", task_uuid)] == ["code.good"]
    letters = {letter["event"]["event_name"]: letter for letter in one.dead_letters("ev", task_uuid)}
    codes = {name: letter["reason"]["code"] for name, letter in letters.items()}
    assert codes == {
        "code.nul": "nul_character",
        "code.not_json": "not_json",
        "code.infinite": "nan_or_infinity",
        "code.surrogate": "lone_surrogate",
        "code.integer": "integer_out_of_range",
        "code.large": "too_large",
    }
    assert {letters[name]["reason"]["path"] for name in ("code.nul", "code.surrogate")} == {"/text"}
    assert all("payload" not in letter for letter in letters.values())
    assert all(0 < len(letter["payload_repr"].encode()) <= 4096 for letter in letters.values())
    difference.wait("router", total_routed=7, durable_routed=1, routing_errors=6)


def test_a_result_too_large_for_an_event_is_stored_and_its_events_are_dead_letters(one):
    task_uuid = run(one, "large", context={"size": 1024 * 1024 + 1})

    assert one.messages("ev", task_uuid) == []
    assert [letter["reason"]["code"] for letter in one.dead_letters("ev", task_uuid)] == ["too_large", "too_large"]
    step_uuid = one.steps(task_uuid)["step"]["step_uuid"]
    step = one.get(f"/v1/tasks/{task_uuid}/workflow_steps/{step_uuid}")
    assert len(step["result"]["big"]) == 1024 * 1024 + 1


def test_a_dead_letter_is_published_after_all_with_the_event_id_that_it_has(one):
    task_uuid = run(one, "schema", context={"value": 3})
    (letter,) = one.dead_letters("ev", task_uuid)
    event_id = letter["event"]["event_id"]
    redrive = {"namespace": "ev", "event_ids": [event_id]}

    answer = one.http.post("/v1/events/dlq/redrive", json={**redrive, "payload": {"value": 12}})

    assert answer.json()["redriven"][0]["event_id"] == event_id
    messages = {row["message"]["event_name"]: row for row in one.messages("ev", task_uuid)}
    assert messages["with.schema"]["message"]["event_id"] == event_id
    assert messages["with.schema"]["message"]["payload"] == {"value": 12}
    assert messages["with.schema"]["headers"]["event_id"] == event_id
    assert one.dead_letters("ev", task_uuid) == []
    again = one.http.post("/v1/events/dlq/redrive", json=redrive).json()
    assert again["redriven"] == []
    assert "redriven or removed already" in again["refused"][0]["message"]
