"""Loads templates from files and directories, and says everything that is wrong with them (SPEC 5)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from tasker_actors.errors import Fault
from tasker_actors.workflow.document import read_document
from tasker_actors.workflow.dynamic_limits import DEFAULT_MAX_DEPTH
from tasker_actors.workflow.environments import for_environment, read_environments
from tasker_actors.workflow.faults import FaultCollector, settle
from tasker_actors.workflow.keys import settle_keys
from tasker_actors.workflow.rules import check_rules
from tasker_actors.workflow.template import TaskTemplate

MAX_FILE_BYTES = 1024 * 1024
SUFFIXES = (".yaml", ".yml")


@dataclass(slots=True)
class LoadedTemplates:
    """Templates in the order of their files, and what is odd about them without being wrong.

    `files` tells which file each template came from, by its identity.
    """

    templates: list[TaskTemplate] = field(default_factory=list)
    warnings: list[Fault] = field(default_factory=list)
    files: dict[tuple[str, str, str], str] = field(default_factory=dict)


def load_templates(
    directories_or_files: Iterable[Path | str],
    *,
    environment: str,
    strict: bool,
    max_decision_depth: int = DEFAULT_MAX_DEPTH,
) -> LoadedTemplates:
    """Load every template of these files, and of the `.yaml` and `.yml` files anywhere below these directories.

    What is hidden, by a name that begins with a dot, is passed over, and so are directories that are links. A file that
    is a link out of the directory is an error: what it leads to is nobody's template until somebody names it. Files of
    a directory come in the order of their paths; a file that is named twice is loaded once. Raises TemplateError with
    every error of every file; strictly, warnings are errors. Blocks on the file system.
    """
    loaded = LoadedTemplates()
    faults: list[Fault] = []
    for path in _template_files(directories_or_files):
        if isinstance(path, Fault):
            faults.append(path)
            continue
        template, found = load_template(path, environment=environment, max_decision_depth=max_decision_depth)
        faults.extend(found)
        if template is None:
            continue
        other = loaded.files.setdefault(template.identity, str(path))
        if other == str(path):
            loaded.templates.append(template)
        else:
            message = f"{template.namespace_name}/{template.name}@{template.version} is defined in {other} too"
            faults.append(Fault(str(path), None, "version", message))
    loaded.warnings = settle(faults, strict=strict)
    return loaded


def load_template(
    path: Path | str, *, environment: str, max_decision_depth: int = DEFAULT_MAX_DEPTH
) -> tuple[TaskTemplate | None, list[Fault]]:
    """Load one file as it is in an environment; returns all its faults, and no template if one is an error.

    What the file says for other environments is checked too, because a mistake there would come out on the day of
    the release. Never raises for what a file contains, or because it cannot be read. Blocks on the file system.
    """
    file = str(path)
    text = _read(Path(path))
    if isinstance(text, Fault):
        return None, [text]
    return parse_template(text, file=file, environment=environment, max_decision_depth=max_decision_depth)


def parse_template(
    text: str, *, file: str, environment: str, max_decision_depth: int = DEFAULT_MAX_DEPTH
) -> tuple[TaskTemplate | None, list[Fault]]:
    """Read a template from the text of its file, like `load_template`; `file` is its name in faults."""
    document = read_document(text)
    faults = FaultCollector(file, document.value)
    for fault in document.faults:
        faults.error(fault.path, fault.message)
    if not isinstance(document.value, dict):
        if not document.faults:
            faults.error((), "a template is a mapping that begins with its name")
        return None, faults.faults
    settled = settle_keys(TaskTemplate, document.value, (), faults)
    overrides = read_environments(settled, faults)
    template = _validate(for_environment(settled, overrides.get(environment, ())), faults, max_decision_depth)
    for name in overrides:
        if name != environment:
            faults.go_on_with(name)
            _validate(for_environment(settled, overrides[name]), faults, max_decision_depth)
    return (None if faults.has_errors else template), faults.faults


def _validate(document: dict[str, Any], faults: FaultCollector, max_decision_depth: int) -> TaskTemplate | None:
    check_rules(document, faults, max_decision_depth=max_decision_depth)
    try:
        return TaskTemplate.model_validate(document)
    except ValidationError as error:
        faults.add_validation_errors(error)
        return None


def _read(path: Path) -> str | Fault:
    """Return a file's text, or why it is none."""
    try:
        with path.open("rb") as stream:
            content = stream.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        return Fault(str(path), None, "", f"cannot be read: {error.strerror or error}")
    if len(content) > MAX_FILE_BYTES:
        return Fault(str(path), None, "", f"is larger than {MAX_FILE_BYTES} bytes, the most a template may have")
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        return Fault(str(path), None, "", f"is not UTF-8: byte {error.start} cannot be decoded")


def _template_files(directories_or_files: Iterable[Path | str]) -> Iterator[Path | Fault]:
    """Find the files, each once, and a fault in the place of each that a directory may not have."""
    seen: set[Path] = set()
    for given in map(Path, directories_or_files):
        # A file that is not there is reported when it is read.
        found: list[Path | Fault] = _files_below(given) if given.is_dir() else [given]
        for file in found:
            if isinstance(file, Fault):
                yield file
            elif file.resolve() not in seen:
                seen.add(file.resolve())
                yield file


def _files_below(directory: Path) -> list[Path | Fault]:
    files = sorted(
        file for file in directory.rglob("*") if _is_template(file.relative_to(directory)) and file.is_file()
    )
    root = directory.resolve()
    return [file if file.resolve().is_relative_to(root) else _leads_out(file, directory) for file in files]


def _leads_out(link: Path, directory: Path) -> Fault:
    message = f"leads out of {directory}, to {link.resolve()}: put that file there, or name it as a template itself"
    return Fault(str(link), None, "", message)


def _is_template(inside: Path) -> bool:
    return inside.suffix in SUFFIXES and not any(part.startswith(".") for part in inside.parts)
