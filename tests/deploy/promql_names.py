"""Prints which metrics and labels PromQL expressions name; the Python of the deploy tools runs it.

It reads a JSON list of expressions, and writes for each a list of [metric, labels]: those of its matchers, and those by
which the aggregations around it group. An expression that can't be parsed ends it with status 1.
"""

import json
import sys
from collections.abc import Iterator
from typing import Any

import promql_parser


def names(node: Any, around: frozenset[str] = frozenset()) -> Iterator[tuple[str, list[str]]]:
    """Yield each metric under `node` with the labels that must exist in it."""
    if isinstance(node, promql_parser.VectorSelector):
        matched = {matcher.name for matcher in node.matchers.matchers}
        yield node.name, sorted((matched | around) - {"__name__"})
        return
    if isinstance(node, promql_parser.AggregateExpr) and node.modifier is not None:
        around = around | frozenset(node.modifier.labels)
    for name in ("expr", "lhs", "rhs", "vector_selector"):
        if (below := getattr(node, name, None)) is not None:
            yield from names(below, around)
    for below in getattr(node, "args", ()):
        yield from names(below, around)


if __name__ == "__main__":
    found = []
    for expression in json.load(sys.stdin):
        try:
            found.append(list(names(promql_parser.parse(expression))))
        except ValueError as error:
            sys.exit(f"{expression}: {error}")
    json.dump(found, sys.stdout)
