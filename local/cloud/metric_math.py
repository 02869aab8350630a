"""CloudWatch metric math over one evaluation period: arithmetic, comparisons, IF, FILL and aggregates.

Source: CloudWatch user guide, "Using math expressions with CloudWatch metrics". A missing value makes what is computed
from it missing, except by FILL; a division by zero is missing.
"""

from __future__ import annotations

import ast
import operator
import re
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache, reduce
from typing import Any

from slidr.errors import SlidrError

Value = float | None

_BINARY: Mapping[type[ast.operator], Callable[[float, float], float]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.Pow: operator.pow,
}
_COMPARISONS: Mapping[type[ast.cmpop], Callable[[float, float], bool]] = {
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
}
_AGGREGATES: Mapping[str, Callable[[list[float]], float]] = {
    "SUM": sum,
    "MIN": min,
    "MAX": max,
    "AVG": lambda values: sum(values) / len(values),
    "ABS": lambda values: abs(values[0]),
    "CEIL": lambda values: float(-(-values[0] // 1)),
    "FLOOR": lambda values: float(values[0] // 1),
}


class MetricMathUnsupported(SlidrError):
    """An expression uses what the local cloud does not compute."""


def names_in(expression: str) -> frozenset[str]:
    """Return the ids that an expression names (and its functions)."""
    return frozenset(re.findall(r"[A-Za-z_]\w*", expression))


def value_of_queries(queries: Sequence[Mapping[str, Any]], statistic: Callable[[Mapping[str, Any]], Value]) -> Value:
    """Return the value of the query that returns data, after computing the others that it names.

    Args:
        queries: an alarm's `Metrics`.
        statistic: the value of a query's `MetricStat`.
    """
    values = {query["Id"]: statistic(query["MetricStat"]) for query in queries if query.get("MetricStat")}
    waiting = [query for query in queries if query.get("Expression")]
    while waiting:  # expressions may name one another in any order
        unknown = {query["Id"] for query in waiting}
        ready = [query for query in waiting if unknown.isdisjoint(names_in(query["Expression"]))] or waiting
        values.update({query["Id"]: evaluate(query["Expression"], values) for query in ready})
        waiting = [query for query in waiting if query["Id"] not in values]
    returned = [query for query in queries if str(query.get("ReturnData", True)).lower() != "false"]
    return values[(returned or list(queries))[-1]["Id"]]


def evaluate(expression: str, values: Mapping[str, Value]) -> Value:
    """Return the expression's value in one period, where `values` are the metrics and expressions by id.

    >>> evaluate("100 * errors / FILL(calls, 1)", {"errors": 2.0, "calls": 8.0})
    25.0
    >>> evaluate("IF(calls > 0, errors / calls, 0)", {"errors": 0.0, "calls": 0.0})
    0.0
    >>> evaluate("ABS(-(a + 7) ^ 0.5)", {"a": 2.0})
    3.0
    >>> evaluate("SUM([a, b])", {"a": 1.0, "b": None})
    1.0

    Raises:
        MetricMathUnsupported: a function or form that is not implemented here.
    """
    return _value(_read(expression), values, expression)


@lru_cache(maxsize=256)
def _read(expression: str) -> ast.expr:
    text = expression.replace("&&", " and ").replace("||", " or ").replace("^", "**").strip()
    try:
        return ast.parse(text, mode="eval").body
    except SyntaxError as malformed:
        raise MetricMathUnsupported(f"the metric math expression {expression!r} cannot be read") from malformed


def _value(node: ast.expr, values: Mapping[str, Value], whole: str) -> Value:  # noqa: PLR0911 - one a form
    match node:
        case ast.Constant(value=int() | float() as number):
            return float(number)
        case ast.Name(id=name):
            if name not in values:
                raise MetricMathUnsupported(f"{whole!r} names {name!r}, which is no metric of the alarm")
            return values[name]
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            inner = _value(operand, values, whole)
            return None if inner is None else -inner
        case ast.BinOp(left=left, op=operation, right=right) if type(operation) in _BINARY:
            return _combine(_BINARY[type(operation)], _value(left, values, whole), _value(right, values, whole))
        case ast.Compare(left=left, ops=[comparison], comparators=[right]) if type(comparison) in _COMPARISONS:
            return _combine(_COMPARISONS[type(comparison)], _value(left, values, whole), _value(right, values, whole))
        case ast.BoolOp(op=operation, values=parts):
            return _logic(operation, [_value(part, values, whole) for part in parts])
        case ast.Call(func=ast.Name(id=function), args=arguments):
            return _call(function.upper(), arguments, values, whole)
    raise MetricMathUnsupported(f"the local cloud does not compute {ast.unparse(node)!r} in {whole!r}")


def _combine(operation: Callable[[float, float], float], left: Value, right: Value) -> Value:
    if left is None or right is None:
        return None
    try:
        value = operation(left, right)
    except (ZeroDivisionError, OverflowError):
        return None
    return None if isinstance(value, complex) else float(value)  # a root of what is below 0


def _logic(operation: ast.boolop, parts: list[Value]) -> Value:
    if any(part is None for part in parts):
        return None
    truths = [bool(part) for part in parts]
    both: Callable[[bool, bool], bool] = operator.and_ if isinstance(operation, ast.And) else operator.or_
    return float(reduce(both, truths))


def _call(function: str, arguments: list[ast.expr], values: Mapping[str, Value], whole: str) -> Value:
    if function == "IF":
        condition = _value(arguments[0], values, whole)
        if condition is None:
            return None
        chosen = arguments[1:2] if condition else arguments[2:3]
        return _value(chosen[0], values, whole) if chosen else None
    if function == "FILL":
        filled = _value(arguments[0], values, whole)
        return _value(arguments[1], values, whole) if filled is None else filled
    if function not in _AGGREGATES:
        raise MetricMathUnsupported(f"the local cloud does not compute {function} in {whole!r}")
    listed = arguments[0].elts if len(arguments) == 1 and isinstance(arguments[0], ast.List) else arguments
    if function in ("SUM", "MIN", "MAX", "AVG") and [ast.unparse(item) for item in listed] == ["METRICS()"]:
        found: list[Value] = list(values.values())
    else:
        found = [_value(item, values, whole) for item in listed]
    present = [value for value in found if value is not None]
    return float(_AGGREGATES[function](present)) if present else None
