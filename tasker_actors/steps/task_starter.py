"""Plans the tasks that handlers start: all is checked at the call, and nothing exists before the commit."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import orjson

from tasker_actors.events.codec import PayloadError, encode_payload
from tasker_actors.events.json_size import stored_bytes
from tasker_actors.identifiers import new_uuid7
from tasker_actors.steps.lease import LeasedStep
from tasker_actors.steps.task_reference import TaskReference, TaskRefusedError
from tasker_actors.telemetry.span_ids import handler_call_id
from tasker_actors.workflow.identity import is_key_missing, task_identity
from tasker_actors.workflow.input_schema import validate_context
from tasker_actors.workflow.nearest import hint
from tasker_actors.workflow.registered import RegisteredTemplate
from tasker_actors.workflow.template import TaskTemplate
from tasker_actors.workflow.template_reference import parse_template_reference

MAX_PRIORITY: Final = 1_000
MAX_TAGS: Final = 50
MAX_TEXT: Final = 255


@dataclass(frozen=True, slots=True)
class StartedTask:
    """A task to create with the commit of the attempt that started it, as `tasker.create_tasks_v1` takes it."""

    reference: TaskReference
    registered: RegisteredTemplate
    document: Mapping[str, Any]

    def encode(self) -> bytes:
        """Write it for the commit."""
        return orjson.dumps({**self.document, "context": orjson.Fragment(self.document["context"])})


class TaskStarter:
    """Plans the tasks that the handler of one attempt starts; for one thread at a time.

    They are of the trace of the handler's call, and name the correlation id of its task as that of their parent.
    """

    def __init__(self, step: LeasedStep, new_id: Callable[[], str] = new_uuid7) -> None:
        self.started: list[StartedTask] = []
        self._step = step
        self._templates = step.plan.templates
        self._new_id = new_id

    def start(
        self,
        template: str,
        context: Mapping[str, Any],
        *,
        priority: int | None,
        tags: Sequence[str],
        idempotency_key: str | None,
    ) -> TaskReference:
        """Plan one task; TaskRefusedError, after which nothing has changed."""
        self._check_room(template)
        registered = self._find(template)
        encoded = self._context(template, registered, context)
        _check_words(template, priority, tags, idempotency_key)
        identity = _identity(template, registered.template, encoded, idempotency_key)
        reference = TaskReference(self._new_id(), *registered.template.identity)
        document = self._document(reference, registered, encoded) | {
            "priority": priority,
            "tags": list(tags),
            "idempotency_key": idempotency_key,
            "identity_hash": identity,
        }
        self.started.append(StartedTask(reference, registered, document))
        return reference

    def _check_room(self, template: str) -> None:
        limits, depth = self._step.plan.limits, self._step.task.depth
        if depth >= limits.max_task_depth:
            raise _refused(
                template,
                "too_deep",
                f"there are {depth} tasks above this one's task, each started by a step of the one before; "
                f"sub_workflows.max_depth is {limits.max_task_depth}. Does a workflow start itself?",
            )
        if len(self.started) >= limits.max_tasks:
            raise _refused(
                template,
                "too_many_tasks",
                f"this attempt has started {len(self.started)}; sub_workflows.max_tasks is {limits.max_tasks}",
            )

    def _find(self, template: str) -> RegisteredTemplate:
        parts = parse_template_reference(template) if isinstance(template, str) else None
        if parts is None:
            raise _refused(template, "invalid_template", "write NAMESPACE/NAME or NAMESPACE/NAME@VERSION")
        registered = self._templates.find_template(*parts)
        if registered is not None:
            return registered
        namespace, name, version = parts
        known = [each.template for each in self._templates.templates()]
        versions = [each.version for each in known if (each.namespace_name, each.name) == (namespace, name)]
        if versions:
            raise _refused(template, "unknown_template", f"there is no version {version}; it has {', '.join(versions)}")
        names = {f"{each.namespace_name}/{each.name}" for each in known}
        raise _refused(
            template, "unknown_template", f"there is no such template{hint(f'{namespace}/{name}', sorted(names))}"
        )

    def _context(self, template: str, registered: RegisteredTemplate, context: Mapping[str, Any]) -> bytes:
        if not isinstance(context, Mapping):
            raise _refused(template, "invalid_context", f"the context must be a mapping, not {type(context).__name__}")
        try:
            encoded = encode_payload(dict(context), max_bytes=self._step.plan.limits.max_context_bytes)
        except PayloadError as error:
            reason = str(error).replace("payload", "context", 1)
            raise _refused(template, "invalid_context", f"the context cannot be stored: {reason}") from error
        faults = validate_context(registered.template.input_schema, orjson.loads(encoded))
        if faults:
            said = "; ".join(f"{fault.path or 'the context'}: {fault.message}" for fault in faults[:10])
            raise _refused(template, "invalid_context", f"the context does not fit its input_schema: {said}")
        return encoded

    def _document(self, reference: TaskReference, registered: RegisteredTemplate, context: bytes) -> dict[str, Any]:
        step = self._step
        trace = step.trace.with_span(handler_call_id(step.trace.span_id))
        return {
            "task_uuid": reference.task_uuid,
            "template_id": registered.template_id,
            "step_uuids": [self._new_id() for _ in registered.plan],
            "context": context,
            "context_bytes": stored_bytes(context),
            "initiator": f"{step.plan.namespace}/{step.plan.task_type}/{step.name}"[:MAX_TEXT],
            "source_system": None,
            "reason": None,
            "correlation_id": self._new_id(),
            "parent_correlation_id": step.task.correlation_id,
            "traceparent": trace.traceparent,
            "tracestate": trace.tracestate,
        }


def _identity(template: str, found: TaskTemplate, context: bytes, idempotency_key: str | None) -> str | None:
    """Make the identity that the template or the key gives the task; whether it is taken is seen at the commit."""
    if is_key_missing(found.identity_strategy, idempotency_key):
        raise _refused(
            template, "missing_idempotency_key", "its identity_strategy is caller_provided: give an idempotency_key"
        )
    return task_identity(
        found.identity_strategy,
        namespace=found.namespace_name,
        name=found.name,
        idempotency_key=idempotency_key,
        unique_for_seconds=None,
        context=orjson.loads(context),
    )


def _check_words(template: str, priority: int | None, tags: Sequence[str], idempotency_key: str | None) -> None:
    """Refuse what the HTTP API would refuse of these."""
    if priority is not None and (type(priority) is not int or not 0 <= priority <= MAX_PRIORITY):
        raise _refused(template, "invalid_task", f"priority must be 0 to {MAX_PRIORITY}, not {priority!r}")
    if isinstance(tags, str) or len(tags) > MAX_TAGS or not all(map(_is_word, tags)):
        what = f"at most {MAX_TAGS} texts of 1 to {MAX_TEXT} characters without NUL"
        raise _refused(template, "invalid_task", f"tags must be {what}, not {tags!r:.100}")
    if idempotency_key is not None and not _is_word(idempotency_key):
        what = f"a text of 1 to {MAX_TEXT} characters without NUL"
        raise _refused(template, "invalid_task", f"idempotency_key must be {what}, not {idempotency_key!r:.100}")


def _is_word(text: object) -> bool:
    return isinstance(text, str) and 0 < len(text) <= MAX_TEXT and "\0" not in text


def _refused(template: object, code: str, reason: str) -> TaskRefusedError:
    return TaskRefusedError(f"task of {template!s:.200} cannot be started: {reason}", error_code=code)
