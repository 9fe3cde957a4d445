"""Waiting for tasks: one by one where there are few, by pages of the list where there are many."""

import urllib.parse

import pytest

from tasker_actors.cli import task_wait
from tasker_actors.cli.client import SupervisorClient
from tasker_actors.cli.task_wait import TaskWait
from tasker_actors.errors import RequestRefusedError, SupervisorUnreachableError
from tasker_actors.identifiers import new_uuid7


class Tasks:
    """Tasks of one template; a page of the list has 50, and each look at the list finishes some more of them."""

    def __init__(self, count, finished_each_look):
        self.uuids = [new_uuid7() for _ in range(count)]
        self.others = [new_uuid7() for _ in range(75)]
        self.finished = 0
        self.each_look = finished_each_look

    def task(self, uuid):
        done = uuid in self.uuids[: self.finished]
        return {"task_uuid": uuid, "status": "complete" if done else "in_progress", "completed_steps": int(done)}

    def answer(self, request):
        url = urllib.parse.urlsplit(request.path)
        if url.path != "/v1/tasks":
            self.finished += 1
            return 200, self.task(url.path.rpartition("/")[2])
        query = dict(urllib.parse.parse_qsl(url.query))
        assert (query["namespace"], query["name"]) == ("flights", "day")
        newest_first = sorted(self.uuids + self.others, reverse=True)
        start = int(query.get("cursor", "0"))
        if start == 0:
            self.finished += self.each_look
        end = start + 50
        cursor = str(end) if end < len(newest_first) else None
        return 200, {"tasks": [self.task(uuid) for uuid in newest_first[start:end]], "next_cursor": cursor}


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch):
    monkeypatch.setattr(task_wait, "_FIRST_LIST_S", 30)
    monkeypatch.setattr(task_wait, "_FIRST_PAUSE_S", 0.001)
    monkeypatch.setattr(task_wait, "_LONGEST_PAUSE_S", 0.002)


@pytest.fixture
def waiting_for(supervisor):
    """Make a wait for tasks of the template flights/day."""
    with SupervisorClient(supervisor.url, None) as client:
        yield lambda uuids: TaskWait(client, "flights", "day", uuids)


def test_one_task_is_looked_at_until_it_is_finished(supervisor, waiting_for):
    answers = iter(["pending", "in_progress", "waiting_for_retry", "error"])
    uuid = new_uuid7()
    supervisor.answer = lambda _: (200, {"task_uuid": uuid, "status": next(answers), "completed_steps": 1})
    seen = []
    waiting = waiting_for([uuid])

    waiting.until_finished(lambda: seen.append(waiting.latest["status"]))

    assert seen == ["pending", "in_progress", "waiting_for_retry", "error"]
    assert waiting.statuses == {uuid: "error"}
    assert {request.path for request in supervisor.requests} == {f"/v1/tasks/{uuid}"}


def test_many_tasks_are_found_in_pages_and_the_last_few_one_by_one(supervisor, waiting_for, monkeypatch):
    monkeypatch.setattr(task_wait, "_FIRST_LIST_S", 0)
    monkeypatch.setattr(task_wait, "_PAUSE_PER_LIST", 0)
    tasks = Tasks(300, finished_each_look=90)
    supervisor.answer = tasks.answer
    waiting = waiting_for(tasks.uuids)
    progress = []

    waiting.until_finished(lambda: progress.append(len(waiting.statuses)))

    assert waiting.statuses == dict.fromkeys(tasks.uuids, "complete")
    assert progress == sorted(progress)
    assert len(set(progress)) > 3
    assert len(supervisor.requests) < 150


def test_the_list_is_read_when_the_newest_task_is_finished_and_not_beyond_the_oldest(supervisor, waiting_for):
    tasks = Tasks(200, finished_each_look=0)
    tasks.others = []
    supervisor.answer = tasks.answer
    tasks.finished = 197

    waiting_for(tasks.uuids[-60:]).until_finished(lambda: None)

    newest = f"/v1/tasks/{tasks.uuids[-1]}"
    assert [request.path.partition("?")[0] for request in supervisor.requests] == [*[newest] * 3, *["/v1/tasks"] * 2]


def test_a_supervisor_that_is_away_for_a_moment_is_waited_for(supervisor, waiting_for):
    uuid = new_uuid7()
    answers = iter(
        [
            (503, {"error": {"code": "database_unavailable", "message": "away"}}),
            (502, b"a proxy speaks"),
            (200, {"task_uuid": uuid, "status": "complete"}),
        ]
    )
    supervisor.answer = lambda _: next(answers)
    waiting = waiting_for([uuid])

    waiting.until_finished(lambda: None)

    assert waiting.statuses == {uuid: "complete"}


def test_one_that_stays_away_ends_the_wait(supervisor, waiting_for, monkeypatch):
    monkeypatch.setattr(task_wait, "_AWAY_LIMIT_S", 0.0)
    supervisor.answer = lambda _: (502, b"a proxy speaks")

    with pytest.raises(SupervisorUnreachableError):
        waiting_for([new_uuid7()]).until_finished(lambda: None)


def test_a_refusal_ends_the_wait_at_once(supervisor, waiting_for):
    supervisor.answer = lambda _: (404, {"error": {"code": "unknown_task", "message": "no task"}})

    with pytest.raises(RequestRefusedError, match="no task"):
        waiting_for([new_uuid7()]).until_finished(lambda: None)

    assert len(supervisor.requests) == 1
