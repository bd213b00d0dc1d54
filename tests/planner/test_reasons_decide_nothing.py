"""Reasons are for readers: stages decide by `Status` and by figures."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import pertoken.planner

PLANNER = Path(pertoken.planner.__file__).parent
# What shows decisions tells reasons apart; it decides nothing.
READERS = {"explain.py", "decision.py", "pipeline.py"}
STAGES = sorted(
    path
    for path in PLANNER.rglob("*.py")
    if path.name not in READERS and "conditions" not in path.relative_to(PLANNER).parts
)


def of_reasons(node: ast.expr) -> bool:
    """A reason code, a field that holds one, or a collection with one in it."""
    match node:
        case ast.Attribute(value=ast.Name("Reason")) | ast.Attribute(attr="reason") | ast.Name("reason" | "reasons"):
            return True
        case ast.Tuple(elts) | ast.List(elts) | ast.Set(elts):
            return any(of_reasons(element) for element in elts)
        case ast.Dict(keys):
            return any(key is not None and of_reasons(key) for key in keys)
        case ast.Call(args=args):
            return any(of_reasons(argument) for argument in args if not isinstance(argument, ast.Name))
    return False


def decisions_by_reason(source: str) -> list[int]:
    """Lines that compare a reason, test whether it is in something, match it, or look something up by it."""
    lines = []
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Compare(ast.Name(), _, [ast.Constant(None)]):
                continue  # an argument that was not given
            case ast.Compare(left, _, others) if any(of_reasons(side) for side in (left, *others)):
                lines.append(node.lineno)
            case ast.MatchValue(value) if of_reasons(value):
                lines.append(value.lineno)
            case ast.Match(subject) if of_reasons(subject):
                lines.append(node.lineno)
            case ast.Subscript(_, key) if of_reasons(key):
                lines.append(node.lineno)
            case ast.If(test) | ast.IfExp(test) if of_reasons(test):
                lines.append(node.lineno)
    return lines


@pytest.mark.parametrize("path", STAGES, ids=lambda path: str(path.relative_to(PLANNER)))
def test_no_stage_decides_by_a_reason(path: Path):
    assert decisions_by_reason(path.read_text()) == []


@pytest.mark.parametrize(
    "line",
    [
        "variant.reason is Reason.IDLE",
        "reason == Reason.IDLE",
        "limit is Reason.IDLE",
        "limit in {Reason.IDLE, other}",
        "limit in (other, Reason.IDLE)",
        "rated.reason is None",
        "variant.reason in LIMITS",
        "x = 1 if rated.reason else 2",
        "SEVERITY[variant.reason]",
        "match limit:\n    case Reason.IDLE: pass",
        "match variant.reason:\n    case other: pass",
        "found = [v for v in variants if v.reason != Reason.IDLE]",
        "str(variant.reason) == 'Idle'",
    ],
)
def test_the_law_sees(line):
    assert decisions_by_reason(line) != []


@pytest.mark.parametrize(
    "line",
    [
        "variant.at(0, Reason.IDLE, Status.IDLE)",
        "told = rated.reason or Reason.IDLE",
        "told = Reason.IDLE if idle else Reason.AT_DESIRED",
        "told = self.reason if reason is None else reason",
    ],
)
def test_giving_a_reason_is_no_decision(line):
    assert decisions_by_reason(line) == []
