"""A query as a JSON document, for sources without SQL: values bound, nothing written, conditions put in.

A variable stands where a value can: `{"status": "{{status}}"}` or `{"limit": {{n}}}`. It is parsed as part of
no document, so a value is never an operator, whatever it holds.
"""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC
from typing import Any

from reporthub_dagster.reporting.bound_query import Bind, BoundQuery
from reporthub_dagster.reporting.errors import ConfigurationError
from reporthub_dagster.reporting.filters import Condition
from reporthub_dagster.reporting.records import TemplateValue
from reporthub_dagster.reporting.sql_lexer import position
from reporthub_dagster.reporting.sql_template import BindNames
from reporthub_dagster.reporting.template_values import VARIABLE, fill_value, is_scalar, names_in
from reporthub_dagster.reporting.time_window import parse_instant

DOCUMENTS = "documents"
"""What a connector names as its dialect when its queries are such documents."""

_PIECE = re.compile(rf'(?P<string>"(?:[^"\\]|\\.)*")(?P<key>\s*:)?|(?P<bare>{VARIABLE.pattern})', re.DOTALL)
_WRITING = frozenset({"$out", "$merge"})
_CODE = frozenset({"$where", "$function", "$accumulator"})
_ENDLESS = frozenset({"$changeStream"})
_OTHER_COLLECTIONS = {"$lookup": "from", "$graphLookup": "from", "$unionWith": "coll"}
_FIRST_STAGES = frozenset({"$geoNear", "$search", "$searchMeta", "$vectorSearch", "$documents", "$collStats"})
_COMPARISONS = {"=": "$eq", "!=": "$ne", ">": "$gt", ">=": "$gte", "<": "$lt", "<=": "$lte", "IN": "$in"}
_SHAPE = '{"collection": "orders", "pipeline": […]} or {"collection": "orders", "filter": {…}}'


def bind_document(text: str, values: Mapping[str, TemplateValue]) -> BoundQuery:
    """The query of a template, its values bound.

    Args:
        text: JSON with `{{variables}}`.
        values: Name → scalar or list of scalars.

    Raises:
        ConfigurationError: A variable has no value, stands in a name, or has an object for a value.
    """
    names = BindNames()
    parts: list[str | Bind] = []
    done = 0
    for piece in _PIECE.finditer(text):
        written = _decoded(piece["string"]) if piece["string"] else piece["bare"]
        mentioned = names_in(written)
        if not mentioned:
            continue
        if piece["key"]:
            raise _refused(f"a variable stands in a name at {position(text, piece.start())}")
        value = fill_value(written, values)
        if not all(map(is_scalar, value if isinstance(value, (list, tuple)) else [value])):
            raise _refused(f"{{{{{mentioned[0]}}}}} is not a value", "give one value, or a list of them")
        parts += [text[done : piece.start()], names.bind("_".join(mentioned), value)]
        done = piece.end("string") if piece["string"] else piece.end()
    return BoundQuery.of([*parts, text[done:]])


def _decoded(literal: str) -> str:
    """What a JSON string says; of one that says nothing `read_document` tells where it stands."""
    try:
        return str(json.loads(literal))
    except json.JSONDecodeError:
        return ""


def read_document(query: BoundQuery) -> dict[str, Any]:
    """A bound query as a tree with its binds as leaves, found to be one that only reads.

    Raises:
        ConfigurationError: It is not JSON, names no collection, or holds what a report may not do.
    """
    mark = f"bind {secrets.token_hex(8)}"
    text = "".join(
        part if isinstance(part, str) else json.dumps({mark: number})
        for number, part in enumerate(query.parts)
    )
    try:
        tree = json.loads(
            text, object_hook=lambda found: query.parts[found[mark]] if mark in found else found
        )
    except json.JSONDecodeError as error:
        problem = f"the query is not JSON: {error.msg} at line {error.lineno}, column {error.colno}"
    else:
        _require_readable(tree)
        return dict(tree)
    raise _refused(problem, f"write {_SHAPE}")


def write_document(tree: Mapping[str, Any]) -> BoundQuery:
    """The reverse of `read_document`."""
    binds: dict[str, Bind] = {}
    mark = f"bind {secrets.token_hex(8)} "

    def marked(leaf: Any) -> str:
        binds[f'"{mark}{len(binds)}"'] = leaf
        return f"{mark}{len(binds) - 1}"

    text = json.dumps(tree, ensure_ascii=False, default=marked)
    pieces = re.split(rf'("{mark}\d+")', text)
    return BoundQuery.of(binds.get(piece, piece) for piece in pieces)


def prepare_document(
    text: str, values: Mapping[str, TemplateValue], conditions: Sequence[Condition], timezone: str
) -> BoundQuery:
    """A template as the data source gets it.

    Args:
        text: JSON with `{{variables}}`.
        values: Name → value.
        conditions: Those of `date_field` and `filters`; they apply to the documents of the collection.
        timezone: Where a date or time without an offset is meant, in `{"$date": …}` and in conditions.

    Raises:
        ConfigurationError: As `bind_document` and `read_document`, or a date is none.
    """
    tree = _dated(read_document(bind_document(text, values)), timezone)
    names = BindNames(write_document(tree).values)
    terms = [_term(condition, names, timezone) for condition in conditions]
    return write_document(_with_conditions(tree, terms) if terms else tree)


def _term(condition: Condition, names: BindNames, timezone: str) -> dict[str, Any]:
    name = condition.values[0][0] if condition.values else "none"
    values = [value for _, value in condition.values]
    if condition.dates:
        values = [parse_instant(str(value), timezone) for value in values]
    if condition.operator == "LIKE":
        return {condition.field: {"$regex": names.bind(name, _pattern(str(values[0])))}}
    given = values if condition.operator == "IN" else values[0]
    return {condition.field: {_COMPARISONS[condition.operator]: names.bind(name, given)}}


def _pattern(like: str) -> str:
    """A regular expression that finds what `LIKE` does."""
    return f"^{''.join({'%': '(?s:.*)', '_': '.'}.get(sign, re.escape(sign)) for sign in like)}$"


def _with_conditions(tree: Mapping[str, Any], terms: list[dict[str, Any]]) -> dict[str, Any]:
    if "pipeline" not in tree:
        return {**tree, "filter": {"$and": [*([tree["filter"]] if tree.get("filter") else []), *terms]}}
    stages = list(tree["pipeline"])
    first = 1 if stages and isinstance(stages[0], dict) and _FIRST_STAGES & stages[0].keys() else 0
    return {**tree, "pipeline": [*stages[:first], {"$match": {"$and": terms}}, *stages[first:]]}


def _dated(tree: Any, timezone: str) -> Any:
    """The tree with the times in `{"$date": …}` as instants."""
    if isinstance(tree, list):
        return [_dated(item, timezone) for item in tree]
    if not isinstance(tree, dict):
        return tree
    moment = tree.get("$date")
    if isinstance(moment, Bind) and isinstance(moment.value, str):
        return {"$date": Bind(f"{moment.name}_at", parse_instant(moment.value, timezone))}
    if isinstance(moment, str):
        return {"$date": f"{parse_instant(moment, timezone).astimezone(UTC):%Y-%m-%dT%H:%M:%S.%f}"[:-3] + "Z"}
    return {key: _dated(value, timezone) for key, value in tree.items()}


def _require_readable(tree: Any) -> None:
    if not isinstance(tree, dict) or not isinstance(tree.get("collection"), str):
        raise _refused("the query names no collection", f"write {_SHAPE}")
    if not isinstance(tree.get("pipeline", []), list) or not isinstance(tree.get("filter", {}), dict):
        raise _refused("the query is no pipeline and no filter", f"write {_SHAPE}")
    for key, value in _members(tree):
        if key in _WRITING | _CODE | _ENDLESS:
            raise _refused(f"{key} is refused: a report is read-only and runs no code", "leave it out")
        named = value.get(_OTHER_COLLECTIONS.get(key)) if isinstance(value, dict) else value
        if key in _OTHER_COLLECTIONS and isinstance(named, Bind):
            raise _refused(f"a variable stands for a collection, in {key}")


def _members(tree: Any) -> Iterator[tuple[str, Any]]:
    """Every key with its value, at any depth."""
    if isinstance(tree, dict):
        for key, value in tree.items():
            yield key, value
            yield from _members(value)
    elif isinstance(tree, list):
        for item in tree:
            yield from _members(item)


def _refused(problem: str, valid: str = "only values can vary, never names") -> ConfigurationError:
    return ConfigurationError(problem, table="report_configs", column="report_query", valid=valid)
