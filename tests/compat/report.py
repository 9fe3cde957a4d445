"""What came of the examples, for a reader or a program."""

from __future__ import annotations

import json

from compat.running import Finding, Report


def as_text(report: Report) -> str:
    """Return a table with one line a case, and what is to complain of below."""
    lines = [
        f"{report.templates} templates load, {len(report.load_errors)} errors, {report.load_warnings} warnings",
        *report.load_errors,
        "",
    ]
    width = max((len(finding.case.name) for finding in report.findings), default=0)
    for finding in report.findings:
        verdict = "as expected" if not finding.complaints else "NOT AS EXPECTED"
        complete = sum(state == "complete" for state in finding.steps.values())
        lines.append(
            f"{finding.case.name:<{width}}  {finding.case.style:<9}  {finding.status:<9}"
            f"  {complete} of {len(finding.steps)} steps complete  {verdict}"
        )
        lines += [f"{'':<{width}}  {complaint}" for complaint in finding.complaints]
    wrong = sum(bool(finding.complaints) for finding in report.findings)
    return "\n".join([*lines, "", f"{len(report.findings) - wrong} of {len(report.findings)} as expected"])


def as_json(report: Report) -> str:
    """Return the same as one JSON object."""
    document = {
        "as_expected": report.is_fine,
        "templates": {
            "loaded": report.templates,
            "errors": report.load_errors,
            "warnings": report.load_warnings,
        },
        "examples": [_entry(finding) for finding in report.findings],
    }
    return json.dumps(document, indent=2)


def _entry(finding: Finding) -> dict[str, object]:
    case = finding.case
    return {
        "name": case.name,
        "style": case.style,
        "template": f"{case.namespace}/{case.template}",
        "expected": {"status": case.status, "checks": [text for text, _ in case.checks]},
        "status": finding.status,
        "steps": finding.steps,
        "complaints": list(finding.complaints),
    }
