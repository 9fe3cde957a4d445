"""Checks template files as a supervisor would at its start, and goes on after the first fault."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from tasker_actors.errors import ConfigurationError, Fault, TemplateError
from tasker_actors.steps.modules import import_modules
from tasker_actors.steps.native_handlers import HandlerFiles
from tasker_actors.steps.references import reference_faults
from tasker_actors.steps.registry import HandlerRegistry
from tasker_actors.workflow.dynamic_limits import DEFAULT_MAX_DEPTH
from tasker_actors.workflow.faults import settle
from tasker_actors.workflow.load import LoadedTemplates, load_templates


@dataclass(frozen=True, slots=True)
class CheckedTemplate:
    """A template that can be used, and the file that it came from."""

    namespace: str
    name: str
    version: str
    file: str


@dataclass(frozen=True, slots=True)
class TemplateReport:
    """What came of checking: the usable templates, and all faults."""

    templates: tuple[CheckedTemplate, ...]
    faults: tuple[Fault, ...]

    @property
    def is_valid(self) -> bool:
        """Whether a supervisor would start with these files."""
        return not any(fault.severity == "error" for fault in self.faults)


def check_templates(
    paths: Sequence[Path],
    *,
    environment: str,
    strict: bool,
    modules: Sequence[str] | None,
    native_directory: Path = Path(),
    max_decision_depth: int | None = None,
) -> TemplateReport:
    """Check files and directories; handlers and publishers too where modules to look in are given.

    Runs the modules' code, and no native code. Raises StartupError for a module that cannot be imported,
    ConfigurationError where there is no template at all.
    """
    registry = None
    if modules is not None:
        registry = HandlerRegistry.from_modules(import_modules(modules), HandlerFiles(native_directory))
    load = partial(
        load_templates, paths, environment=environment, max_decision_depth=max_decision_depth or DEFAULT_MAX_DEPTH
    )
    try:
        loaded = load(strict=False)
    except TemplateError as error:
        return TemplateReport((), _with_warnings(error.faults, load, strict=strict))
    if not loaded.templates:
        msg = f"there is no template (*.yaml, *.yml) in {', '.join(map(str, paths))}"
        raise ConfigurationError(msg)
    faults = [*loaded.warnings, *(reference_faults(loaded, registry) if registry is not None else ())]
    if strict:
        try:
            settle(faults, strict=True)
        except TemplateError as error:
            faults = list(error.faults)
    return TemplateReport(tuple(_checked(loaded)), tuple(faults))


def _with_warnings(errors: Sequence[Fault], load: Callable[..., LoadedTemplates], *, strict: bool) -> tuple[Fault, ...]:
    """Return the errors and the warnings beside them, which only a strict reading tells when there are errors."""
    try:
        load(strict=True)
    except TemplateError as error:
        everything = error.faults
    else:
        everything = ()
    if strict:
        return tuple(everything)
    known = set(errors)
    warnings = (fault for fault in everything if fault not in known)
    return (*errors, *(Fault(fault.file, fault.step, fault.key, fault.message, "warning") for fault in warnings))


def _checked(loaded: LoadedTemplates) -> list[CheckedTemplate]:
    return [
        CheckedTemplate(template.namespace_name, template.name, template.version, loaded.files[template.identity])
        for template in loaded.templates
    ]
