"""Which SELECT of a query a condition on a column belongs to."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from sqlglot import exp

from reporthub_dagster.reporting.errors import ConfigurationError

_INNER = (exp.Query, exp.With)


class Field(NamedTuple):
    """A column as the configuration names it; qualifier (empty without one) and column in lower case."""

    name: str
    qualifier: str
    column: str

    @classmethod
    def of(cls, name: str) -> Field:
        """`db.t.created_at` is the column `created_at` of the source `t`."""
        *qualifiers, column = name.lower().split(".")
        return cls(name, qualifiers[-1] if qualifiers else "", column)


def selects_for(statement: exp.Expr, field: Field) -> list[exp.Select]:
    """The SELECTs whose WHERE must take a condition on `field` so that it holds for every row of the result.

    The outermost SELECT when the field is there, in every branch of a union; otherwise the shallowest query
    below it (subquery or WITH) that has the field. A name without a qualifier is taken to be in a table
    whose columns nobody told us; only queries whose columns are all written out are known to lack it.

    Raises:
        ConfigurationError: It is nowhere, not in every branch, or it may be in several queries.
    """
    chosen: dict[int, exp.Select] = {}
    for branch in _branches(statement):
        for select in _shallowest(branch, field):
            chosen[id(select)] = select
    if not chosen:
        raise ConfigurationError("the query has no SELECT for it", value=field.name, valid="write a SELECT")
    return list(chosen.values())


def _shallowest(branch: exp.Select, field: Field) -> list[exp.Select]:
    level: list[exp.Expr] = [branch]
    while level:
        found = [holders for query in level if (holders := _holders(query, field))]
        if len(found) > 1 and not field.qualifier:
            raise ConfigurationError(
                "the column may be in more than one subquery",
                value=field.name,
                valid="write its table's alias before it",
            )
        if found:
            return [select for holders in found for select in holders]
        level = list({id(inner): inner for query in level for inner in _below(query, field)}.values())
    names = sorted({_name(source) for source in _sources(branch)} - {""})
    raise ConfigurationError(
        "no part of the query has the column"
        if not field.qualifier
        else "no part of the query has the table",
        value=field.name,
        valid=f"the outermost SELECT reads {', '.join(names) or 'no table'}",
    )


def _holders(query: exp.Expr, field: Field) -> list[exp.Select]:
    """The branches of one query, when they have the field; all or none."""
    branches = _branches(query)
    holders = [branch for branch in branches if _has(branch, field)]
    if holders and len(holders) < len(branches):
        raise ConfigurationError(
            "only some branches of a UNION have the column",
            value=field.name,
            valid="use one that stands in all of them",
        )
    return holders


def _branches(query: exp.Expr) -> list[exp.Select]:
    """The SELECTs whose rows a query returns."""
    if isinstance(query, exp.Select):
        return [query]
    if isinstance(query, exp.SetOperation):
        return [*_branches(query.this), *_branches(query.expression)]
    if isinstance(query, (exp.Subquery, exp.CTE)):
        return _branches(query.this)
    return []


def _has(select: exp.Select, field: Field) -> bool:
    return any(
        _offers(source, field.column)
        for source in _sources(select)
        if not field.qualifier or _name(source) == field.qualifier
    )


def _sources(select: exp.Select) -> Iterator[exp.Expr]:
    """What a SELECT reads: tables, derived tables, functions."""
    from_ = select.args.get("from_")
    for item in (from_, *(select.args.get("joins") or ()), *(select.args.get("laterals") or ())):
        if item is not None:
            yield from _flattened(item if isinstance(item, exp.Lateral) else item.this)


def _flattened(source: exp.Expr) -> Iterator[exp.Expr]:
    """A source, and the tables of a join in parentheses."""
    if isinstance(source, exp.Subquery) and isinstance(source.this, exp.Table):
        yield from _flattened(source.this)
    else:
        yield source
    for join in source.args.get("joins") or ():
        yield from _flattened(join.this)


def _offers(source: exp.Expr, column: str) -> bool:
    """False only when a source is known to lack the column: its columns are written out, and this is none."""
    inner = _query_of(source)
    renamed = source.alias_column_names or (inner.alias_column_names if inner is not None else [])
    if renamed or inner is None:
        return not renamed or column in (name.lower() for name in renamed)
    first = _branches(inner)[:1]
    return not first or _returns(first[0], column)


def _returns(select: exp.Select, column: str) -> bool:
    if any(projection.is_star for projection in select.expressions):
        return any(_offers(source, column) for source in _sources(select))
    return column in (name.lower() for name in select.named_selects)


def _query_of(source: exp.Expr) -> exp.Expr | None:
    """The query behind a derived table or a name that WITH defines; None for a table of the database."""
    if isinstance(source, exp.Lateral):
        return source.this if isinstance(source.this, exp.Subquery) else None
    if isinstance(source, exp.Subquery):
        return source
    return _with_query(source) if isinstance(source, exp.Table) and not source.db else None


def _with_query(table: exp.Table) -> exp.CTE | None:
    above, inside = table.parent, []
    while above is not None:
        inside.append(id(above))
        with_ = above.args.get("with_")
        for defined in with_.expressions if isinstance(with_, exp.With) else ():
            # A definition sees those before it; its own name is a table there, or the recursion, which has
            # the columns anyway.
            if id(defined) in inside:
                break
            if isinstance(defined, exp.CTE) and defined.alias.lower() == table.name.lower():
                return defined
        above = above.parent
    return None


def _below(query: exp.Expr, field: Field) -> Iterator[exp.Expr]:
    """The queries one level down: those read from and, for a field with a qualifier, those in expressions."""
    for select in _branches(query):
        for source in _sources(select):
            if (inner := _query_of(source)) is not None:
                yield inner
        if field.qualifier:
            yield from _nested(select)


def _nested(select: exp.Select) -> Iterator[exp.Expr]:
    """The outermost queries inside a SELECT, wherever they stand but in its WITH."""
    for node in select.walk(prune=lambda node: node is not select and isinstance(node, _INNER)):
        if isinstance(node, exp.Query) and node is not select:
            yield node


def _name(source: exp.Expr) -> str:
    return source.alias_or_name.lower()
