# SPDX-License-Identifier: Apache-2.0
"""Write the verification ladder as JUnit XML: one suite for a host, one case for a rung of a service."""

from __future__ import annotations

from xml.etree import ElementTree as ET

from provisioner.plain import clean, one_line
from provisioner.runs.report import FAILED, Failure, HostReport, Report, Rung

NOT_APPLICABLE = "not applicable"


def to_junit(report: Report) -> str:
    """Return the rungs of a report as JUnit XML; a host that failed before its rungs gets a failed case."""
    top = ET.Element("testsuites", name="provision verify")
    for host in report.hosts:
        _suite(ET.SubElement(top, "testsuite", name=clean(host.name), errors="0"), host, report)
    for count in ("tests", "failures", "skipped"):
        top.set(count, str(sum(int(suite.get(count, "0")) for suite in top)))
    ET.indent(top)
    return ET.tostring(top, encoding="unicode", xml_declaration=True) + "\n"


def _suite(suite: ET.Element, host: HostReport, report: Report) -> None:
    rungs = [rung for rung in report.rungs if rung.host == host.name]
    for rung in rungs:
        _rung(suite, rung)
    if not any(rung.status == FAILED for rung in rungs):
        for failure in report.failures:
            if failure.host == host.name:
                _failure(suite, failure)
    if host.skipped and not len(suite):
        _case(suite, host.name, "verified", "skipped").set("message", one_line(host.skipped))
    if not len(suite):
        _case(suite, host.name, "verified", "failure").set("message", "this host was not verified")
    suite.set("tests", str(len(suite)))
    for kind, name in (("failure", "failures"), ("skipped", "skipped")):
        suite.set(name, str(len(suite.findall(f"testcase/{kind}"))))


def _rung(suite: ET.Element, rung: Rung) -> None:
    classname = f"{rung.host}.{rung.service}" if rung.service else rung.host
    kind = {FAILED: "failure", NOT_APPLICABLE: "skipped"}.get(rung.status, "system-out")
    outcome = _case(suite, classname, rung.rung, kind)
    if kind == "skipped":
        outcome.set("message", one_line(f"not applicable: {rung.evidence}"))
        return
    outcome.text = clean(rung.evidence) + _next(rung.next)
    if kind == "failure":
        outcome.set("message", one_line(rung.evidence))


def _failure(suite: ET.Element, failure: Failure) -> None:
    outcome = _case(suite, failure.host, failure.task, "failure")
    outcome.set("message", one_line(failure.message))
    place = f"{failure.phase} · {failure.task} ({failure.where})"
    outcome.text = clean(f"{place}\n{failure.message}") + _next(failure.next)


def _case(suite: ET.Element, classname: str, name: str, kind: str) -> ET.Element:
    case = ET.SubElement(suite, "testcase", classname=clean(classname), name=one_line(name))
    return ET.SubElement(case, kind)


def _next(step: str | None) -> str:
    return f"\nnext: {clean(step)}" if step else ""
