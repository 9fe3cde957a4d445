"""Which test proves which rule of the commit path (DESIGN 3): read this to find out what must not break.

Each rule has its mechanisms, as a file and words that stand in it, and tests, each of which has been seen to fail with
the mechanism taken out. Here is checked that all of them are where the table says.
"""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MIGRATIONS = "tasker_actors/postgres/migrations"
INTEGRATION = "tests/integration"

RULES = {
    "1 order of locks": {
        f"{MIGRATIONS}/0009_dynamic_steps.sql": "ORDER BY task_uuid FOR NO KEY UPDATE",
        "tasker_actors/postgres/connect.py": "IsolationLevel.READ_COMMITTED",
        f"{INTEGRATION}/test_commit_concurrency.py": [
            "test_two_last_predecessors_that_commit_at_once_release_their_successor",
            "test_two_last_steps_that_commit_at_once_finish_their_task_once",
            "test_batches_that_share_tasks_in_opposite_order_do_not_deadlock",
            "test_tasks_are_locked_in_the_order_of_their_keys_however_they_lie_and_are_found",
            "test_a_fan_in_of_100_with_4_workers_ends_without_a_deadlock",
        ],
        f"{INTEGRATION}/test_connect.py": ["test_a_server_whose_default_is_another_isolation_changes_nothing"],
        "tests/unit/postgres/test_outages.py": ["test_an_error_is_sorted_by_what_another_try_would_bring"],
    },
    "2 everything follows from the set that won": {
        f"{MIGRATIONS}/0009_dynamic_steps.sql": "s.token = r.token AND s.state = 'in_progress'",
        f"{INTEGRATION}/test_commit.py": [
            "test_a_result_whose_token_is_gone_changes_nothing_at_all",
            "test_a_result_cannot_be_committed_a_second_time",
        ],
        f"{INTEGRATION}/test_decisions.py": [
            "test_a_result_whose_lease_has_gone_decides_nothing",
            "test_a_decision_that_is_committed_twice_because_the_reply_was_lost_is_made_once",
        ],
        f"{INTEGRATION}/test_checkpoints.py": ["test_a_result_whose_lease_has_gone_stores_no_checkpoint"],
        f"{INTEGRATION}/test_commit_concurrency.py": [
            "test_a_commit_that_waits_for_a_cancel_changes_nothing",
            "test_a_cancel_that_waits_for_a_commit_ends_what_the_commit_released",
        ],
    },
    "3 token and attempt are two things": {
        "tasker_actors/supervision/verdict.py": "def judge(",
        "tasker_actors/steps/ledger.py": "self._tokens.begun[item.place] = token",
        f"{MIGRATIONS}/0006_begun.sql": "SET begun_token = p_token",
        "tests/unit/supervision/test_verdict.py": [
            "test_what_ran_alone_is_charged",
            "test_what_ran_beside_others_is_lost",
            "test_a_suspect_that_nobody_saw_begin_is_charged_if_the_database_noted_it_and_then_nothing_else_had_begun",
        ],
        "tests/unit/steps/test_source_suspects.py": [
            "test_a_suspect_waits_until_nothing_else_runs_and_then_runs_alone",
            "test_a_suspect_waits_for_what_is_on_its_way_to_the_commit_and_others_wait_for_its_own",
        ],
        f"{INTEGRATION}/test_settlement.py": [
            "test_a_suspect_that_began_is_charged_although_its_supervisor_died_with_it",
            "test_a_suspect_that_may_have_ended_a_supervisor_runs_alone_in_one",
        ],
        "tests/chaos/test_poison.py": [
            "test_poison_among_200_is_the_only_one_that_pays_whatever_it_does_to_its_process",
            "test_poison_that_ends_the_container_is_the_only_one_that_pays",
        ],
    },
    "4 a dead worker's session may still act": {
        f"{MIGRATIONS}/0004_commit.sql": "pg_advisory_xact_lock_shared(tasker.worker_lock_class()",
        f"{MIGRATIONS}/0006_begun.sql": "pg_advisory_xact_lock(tasker.worker_lock_class()",
        f"{INTEGRATION}/test_commit.py": ["test_a_fenced_worker_commits_nothing"],
        f"{INTEGRATION}/test_commit_concurrency.py": [
            "test_settling_waits_for_a_commit_of_nothing_but_outside_events_too",
            "test_settling_waits_for_a_claim_in_flight_and_gives_its_leases_back",
            "test_a_commit_that_comes_during_the_settling_is_fenced",
        ],
        "tests/chaos/test_commit_kills.py": [
            "test_a_worker_that_is_killed_in_a_commit_has_committed_all_of_it_or_nothing"
        ],
    },
    "5 unknown outcomes": {
        f"{MIGRATIONS}/0004_commit.sql": "IF v_last = v_seq THEN",
        f"{INTEGRATION}/test_commit_outage.py": [
            "test_a_commit_that_is_cut_is_stored_once_and_its_result_is_no_lost_lease",
            "test_commits_that_are_cut_by_the_hundred_are_stored_once_each",
        ],
        f"{INTEGRATION}/test_commit_concurrency.py": [
            "test_a_batch_that_is_sent_again_while_the_first_try_still_runs_is_stored_once"
        ],
    },
    "6 hand over after the server said ready": {
        "tasker_actors/postgres/commits.py": ".execute(_COMMIT, (document,)).fetchone()",
        f"{INTEGRATION}/test_commit_faults.py": [
            "test_a_result_that_was_sent_and_then_rolled_back_is_told_to_nobody_as_stored"
        ],
        "tests/unit/delivery/test_durable_publisher.py": [
            "test_nothing_is_told_to_anybody_before_the_database_answered"
        ],
    },
    "7 one bad item costs itself": {
        "tasker_actors/delivery/batch.py": "size + weight > max_bytes",
        "tasker_actors/delivery/durable_publisher.py": "MAX_BATCH_BYTES",
        "tasker_actors/supervision/settled_lease.py": "def one_by_one(",
        f"{INTEGRATION}/test_commit_faults.py": [
            "test_a_result_that_postgresql_refuses_fails_its_own_step_only",
            "test_an_event_that_postgresql_refuses_is_a_dead_letter_and_its_step_complete",
            "test_300_large_results_are_cut_by_bytes_and_all_stored",
        ],
        "tests/unit/delivery/test_durable_publisher.py": [
            "test_a_refused_batch_is_halved_until_the_culprit_is_alone",
            "test_an_entry_that_is_more_than_a_value_can_hold_is_never_sent_and_pays_alone",
        ],
        f"{INTEGRATION}/test_settlement.py": [
            "test_an_event_that_postgresql_refuses_keeps_no_lease_of_a_dead_worker",
        ],
        f"{INTEGRATION}/test_commit_concurrency.py": [
            "test_every_function_that_takes_locks_has_a_lock_timeout",
            "test_a_commit_that_gets_no_lock_in_time_is_repeated",
        ],
    },
    "8 a ledger outside the actors": {
        "tasker_actors/delivery/durable_publisher.py": "self._ledger.items(Stage.COMMITTING)",
        "tasker_actors/steps/source.py": "self._claimer.extend([item.step for item in self._ledger.items()])",
        f"{MIGRATIONS}/0005_workers.sql": "NOT token = ANY (p_tokens)",
        "tests/unit/delivery/test_durable_publisher_restarts.py": [
            "test_entries_that_were_drained_with_a_failed_batch_are_committed_from_the_ledger"
        ],
        f"{INTEGRATION}/test_leases.py": ["test_a_lease_that_the_worker_does_not_know_is_given_back_uncounted"],
        "tests/unit/steps/test_source.py": [
            "test_a_full_worker_claims_nothing_until_a_place_is_free",
            "test_leases_that_are_lost_are_let_go_and_their_handlers_told",
        ],
    },
    "9 waiting for the database": {
        "tasker_actors/steps/source.py": "not self._extension_due and self._is_stored()",
        f"{MIGRATIONS}/0005_workers.sql": "pg_postmaster_start_time()",
        "tasker_actors/postgres/outages.py": "def is_waiting",
        "tests/unit/steps/test_source.py": [
            "test_after_an_outage_leases_are_extended_before_anything_is_claimed",
            "test_after_an_outage_what_has_its_result_is_stored_before_anything_is_claimed",
        ],
        f"{INTEGRATION}/test_leases.py": ["test_nothing_is_taken_in_the_first_seconds_of_the_servers_life"],
        "tests/chaos/test_database_away.py": [
            "test_workers_wait_for_a_server_that_stops_under_load_and_go_on_by_themselves"
        ],
    },
    "10 continuation": {
        "tasker_actors/delivery/durable_publisher.py": "self._capacity.free(held_after)",
        f"{MIGRATIONS}/0014_limits.sql": "WHEN j.continued THEN v_now + v_lease",
        "tests/unit/delivery/test_durable_publisher.py": [
            "test_it_offers_the_places_that_are_free_once_the_batch_is_done",
            "test_a_draining_worker_continues_nothing",
            "test_while_too_many_events_are_on_their_way_nothing_is_continued",
        ],
        f"{INTEGRATION}/test_commit_continuation.py": [
            "test_what_is_continued_is_leased_like_a_claim_and_the_rest_is_released"
        ],
        f"{INTEGRATION}/test_limits.py": ["test_a_successor_with_limits_is_released_and_not_continued"],
    },
    "11 wake-ups": {
        "tasker_actors/supervision/wakeups.py": "self._stopping.wait(self._interval)",
        "tests/unit/delivery/test_durable_publisher.py": [
            "test_others_are_woken_for_what_was_released_and_only_after_the_commit"
        ],
        f"{INTEGRATION}/test_wakeups.py": [
            "test_what_is_released_between_two_notifications_is_told_in_one",
            "test_no_function_of_the_database_notifies_anybody",
        ],
    },
    "12 statements": {
        f"{MIGRATIONS}/0014_limits.sql": "SET enable_sort = off SET enable_bitmapscan = off",
        "tasker_actors/postgres/connect.py": "idle_in_transaction_session_timeout",
        f"{INTEGRATION}/test_commit_plans.py": [
            "test_20000_steps_cost_a_claim_and_a_commit_no_table_scan",
            "test_what_decisions_and_batches_cost_grows_with_their_task_and_not_with_the_table",
            "test_50000_steps_that_wait_for_a_place_are_in_nobodys_way",
        ],
        f"{INTEGRATION}/test_claim.py": ["test_the_context_of_a_task_comes_once_for_all_its_steps"],
        f"{INTEGRATION}/test_commit_continuation.py": [
            "test_the_input_of_continued_steps_is_bounded_by_bytes_and_one_always_fits"
        ],
        f"{INTEGRATION}/test_commit_concurrency.py": [
            "test_others_go_on_when_a_client_is_stopped_that_holds_locks_and_what_it_had_not_committed_never_happened"
        ],
        f"{INTEGRATION}/test_connect.py": ["test_through_a_pooler_no_session_state_is_left_behind"],
    },
    "13 blocked branches": {
        f"{MIGRATIONS}/0009_dynamic_steps.sql": "AND NOT s.blocked",
        f"{INTEGRATION}/test_commit_blocked.py": [
            "test_a_step_below_two_failed_parents_is_blocked_and_counted_once",
        ],
        f"{INTEGRATION}/test_decisions.py": ["test_a_failure_blocks_only_by_the_steps_that_exist"],
    },
    "14 leader": {
        "tasker_actors/postgres/sql/workers.sql": "pg_try_advisory_xact_lock",
        "tasker_actors/supervision/run.py": "_settle_dead_of_this_machine",
        f"{INTEGRATION}/test_leases.py": ["test_there_is_one_leader_at_a_time_until_the_end_of_its_transaction"],
        f"{INTEGRATION}/test_maintenance.py": [
            "test_a_worker_of_a_host_that_vanished_is_settled_and_its_steps_run_elsewhere",
            "test_who_does_not_lead_settles_nobody",
        ],
        "tests/acceptance/test_orphans.py": [
            "test_a_killed_supervisor_leaves_no_worker_after_two_seconds_and_a_new_one_finishes"
        ],
    },
    "15 credits": {
        "tasker_actors/steps/source.py": "self._max_held_bytes - self._ledger.bytes()",
        "tasker_actors/steps/capacity.py": "min(self._prefetch, ahead)",
        "tests/unit/steps/test_source.py": ["test_what_is_held_counts_by_its_bytes_too"],
        "tests/unit/steps/test_capacity.py": ["test_about_100_ms_of_measured_work_is_fetched_ahead"],
        "tests/chaos/test_fairness.py": ["test_long_steps_that_one_worker_fetched_ahead_run_on_the_other"],
    },
    "16 order of events": {
        f"{MIGRATIONS}/0009_dynamic_steps.sql": "ORDER BY w.ordinal, e.ordinality",
        f"{INTEGRATION}/test_commit_events.py": [
            "test_events_of_a_step_keep_their_order_and_a_predecessors_come_before_its_successors"
        ],
    },
}


def test_every_rule_has_its_place_in_the_table():
    assert [int(rule.split()[0]) for rule in RULES] == list(range(1, 17))


@pytest.mark.parametrize("rule", RULES)
def test_the_mechanism_and_the_tests_of_a_rule_are_where_the_table_says(rule):
    for path, wanted in RULES[rule].items():
        text = (ROOT / path).read_text(encoding="utf-8")
        if isinstance(wanted, str):
            assert wanted in text, f"{path} has no {wanted!r}"
        else:
            there = set(re.findall(r"^def (test_\w+)\(", text, re.MULTILINE))
            assert set(wanted) <= there, f"{path} has no such test"


@pytest.mark.parametrize("rule", RULES)
def test_a_rule_has_a_mechanism_and_a_test(rule):
    assert {isinstance(wanted, str) for wanted in RULES[rule].values()} == {True, False}
