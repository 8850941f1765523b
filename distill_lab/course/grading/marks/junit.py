"""A result as JUnit XML, for CI: a test case an exercise, its points as properties. Written from
the result and not by pytest, so that it is there, and says the same, where a session was ended."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET

from distill_lab.course.grading.marks.marks import Mark, Result

_NOT_XML = re.compile(r"[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def to_xml(result: Result) -> str:
    lost = [mark for mark in result.marks if mark.points < mark.of]
    suite = _element(
        "testsuite",
        name=f"{result.lab} {result.student}",
        tests=len(result.marks),
        failures=len(lost),
        errors=int(bool(result.failure)),
    )
    _properties(suite, points=result.points, of=result.of, file=result.file)
    for mark in result.marks:
        suite.append(_case(result.lab, mark))
    if result.failure:
        case = ET.SubElement(suite, "testcase", {"classname": result.lab, "name": "the file"})
        case.append(_element("error", message=result.failure))
    remarks = [f"{one.kind} {one.where}: {one.said}" for one in result.remarks]
    ET.SubElement(suite, "system-out").text = _clean("\n".join(remarks))
    ET.indent(suite)
    return ET.tostring(suite, encoding="unicode", xml_declaration=True) + "\n"


def message(mark: Mark) -> str:
    """What was lost and why, as text."""
    lines = [f"{mark.exercise}: {mark.state}, {mark.points} of {mark.of} points", mark.said]
    for step in mark.steps:
        lines += [] if step.right else [f"wrong: {step.title}", step.said]
    return "\n".join(filter(None, lines))


def _case(lab: str, mark: Mark) -> ET.Element:
    case = _element("testcase", classname=lab, name=mark.exercise.partition(".")[2])
    _properties(case, points=mark.points, of=mark.of, state=mark.state)
    if mark.points < mark.of:
        failure = _element("failure", message=f"{mark.points} of {mark.of} points: {mark.state}")
        failure.text = _clean(message(mark))
        case.append(failure)
    return case


def _properties(element: ET.Element, /, **values: object) -> None:
    properties = ET.SubElement(element, "properties")
    properties.extend(_element("property", name=name, value=v) for name, v in values.items())


def _element(tag: str, /, **attributes: object) -> ET.Element:
    return ET.Element(tag, {name: _clean(str(value)) for name, value in attributes.items()})


def _clean(text: str) -> str:
    """Without characters that XML cannot hold."""
    return _NOT_XML.sub("�", text)
