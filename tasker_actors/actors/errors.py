"""What can go wrong between two actors; part of the tree in `tasker_actors.errors`."""

from __future__ import annotations

from tasker_actors.errors import StartupError, TaskerError


class ActorError(TaskerError):
    """The actor that was asked raised an error while it handled the message.

    `error_type` is the name of that error's class. Its object is `__cause__` when the actor lives in this process;
    between processes only names and text travel.
    """

    def __init__(self, actor: str, error_type: str, message: str) -> None:
        self.actor = actor
        self.error_type = error_type
        self.message = message
        super().__init__(f"actor {actor} failed: {error_type}: {message}")


class ActorStartError(StartupError):
    """The actor's factory or its `on_start` raised, or did not return in time; the actor does not exist."""


class ActorUnavailableError(TaskerError):
    """Nobody can answer: the actor is unknown or stopped, or the process that had it is gone."""


class AskTimeoutError(TaskerError):
    """No answer came in time; the actor may still handle the message, and its answer is dropped and counted."""


class LinkFullError(TaskerError):
    """The other process reads too slowly: the bounded queue to it stayed full for the whole send time limit."""


class LinkClosedError(TaskerError):
    """The link to the other process is closed; the message was not sent."""
