"""The part of CQL that migrations use: comparisons joined by AND, and ORDER BY by id or date."""

import re
from collections.abc import Callable, Iterator
from datetime import datetime

from sandbox.sample.model import Content, Instance, Kind
from sandbox.server.errors import Refusal

TOKEN = re.compile(r'\s*(?:"((?:[^"\\]|\\.)*)"|([A-Za-z_][\w.~-]*|\d[\w:/.-]*)|(!=|>=|<=|!~|[=~<>(),]))')
KINDS: tuple[Kind, ...] = ("page", "blogpost", "comment", "attachment")
Test = Callable[[Content], bool]


def tokens(cql: str) -> Iterator[tuple[str, str]]:
    """("text" | "word" | "sign", value) of each token."""
    at = 0
    cql = cql.rstrip()
    while at < len(cql):
        found = TOKEN.match(cql, at)
        if found is None:
            raise Refusal(400, f"Could not parse cql : {cql}")
        at = found.end()
        text, word, sign = found.groups()
        if text is not None:
            yield "text", re.sub(r"\\(.)", r"\1", text)
        elif word is not None:
            yield "word", word
        else:
            yield "sign", sign


def search(instance: Instance, cql: str) -> Iterator[Content]:
    """What the query finds, live or trashed, in order of ids; the caller leaves out what may not be seen."""
    stream = list(tokens(cql))
    tests: list[Test] = []
    kinds, places = set(KINDS), set(instance.spaces)
    at = 0
    reverse = False
    while at < len(stream):
        field = stream[at][1].lower()
        if field == "order":
            reverse = stream[-1][1].lower() == "desc"
            break
        if tests:
            if field != "and":
                raise Refusal(400, f"Could not parse cql : {cql}")
            at += 1
            field = stream[at][1].lower()
        if at + 2 >= len(stream):
            raise Refusal(400, f"Could not parse cql : {cql}")
        operator = stream[at + 1][1].lower()
        values, at = _values(stream, at + 1, operator, cql)
        tests.append(_test(instance, field, operator, values))
        # What is asked for by name narrows where to look; everything is tested all the same.
        lowered = {v.lower() for v in values}
        if operator in {"=", "in"} and field in {"space", "space.key"}:
            places = {key for key in places if key.lower() in lowered}
        elif operator in {"=", "in"} and field == "type":
            kinds = {kind for kind in kinds if kind in lowered}
    if not tests:
        raise Refusal(400, "The cql query is empty")
    lists = [instance.listed(kind, key) for kind in sorted(kinds) for key in sorted(places)]
    found = (c.id for rows in lists for c in rows if c.status == "current" and all(t(c) for t in tests))
    for id in sorted(found, reverse=reverse):  # ids only: what is found may be much
        yield instance.contents[id]


def _values(stream: list[tuple[str, str]], at: int, operator: str, cql: str) -> tuple[list[str], int]:
    if operator == "not":
        at += 1
    if operator in {"in", "not"}:
        values = []
        at += 2
        while at < len(stream) and stream[at][1] != ")":
            if stream[at][1] != ",":
                values.append(stream[at][1])
            at += 1
        return values, at + 1
    if stream[at][0] != "sign":
        raise Refusal(400, f"Could not parse cql : {cql}")
    return [stream[at + 1][1]], at + 2


def _test(instance: Instance, field: str, operator: str, values: list[str]) -> Test:
    lowered = {v.lower() for v in values}
    negative = operator in {"!=", "not", "!~"}

    def known(test: Test) -> Test:
        return (lambda c: not test(c)) if negative else test

    if field in {"space", "space.key"}:
        return known(lambda c: c.space.lower() in lowered)
    if field == "type":
        return known(lambda c: c.kind in lowered)
    if field in {"id", "content"}:
        return known(lambda c: str(c.id) in lowered)
    if field == "title":
        if operator in {"~", "!~"}:
            return known(lambda c: all(word in c.title.lower() for v in lowered for word in v.split()))
        return known(lambda c: c.title.lower() in lowered)
    if field == "parent":
        return known(lambda c: str(c.parent) in lowered)
    if field == "ancestor":
        return known(lambda c: any(str(a.id) in lowered for a in instance.ancestors(c)))
    if field == "container":
        return known(lambda c: str(c.container) in lowered)
    if field == "label":
        return known(lambda c: any(n.lower() in lowered for _, n in c.labels))
    if field in {"creator", "contributor"}:
        found = [instance.user_by_name(v) for v in values]
        keys = {u.key for u in found if u} | set(values)
        return known(lambda c: c.creator in keys)
    if field in {"lastmodified", "created"}:
        return _dated(field, operator, values[0])
    raise Refusal(400, f"No field exists with name '{field}'")


def _dated(field: str, operator: str, value: str) -> Test:
    try:
        limit = datetime.fromisoformat(value.replace("/", "-"))
    except ValueError:
        raise Refusal(400, f"Could not parse date '{value}'") from None

    def test(c: Content) -> bool:
        moment = (c.created if field == "created" else c.modified).replace(tzinfo=limit.tzinfo)
        return {
            ">": moment > limit,
            ">=": moment >= limit,
            "<": moment < limit,
            "<=": moment <= limit,
            "=": moment.date() == limit.date(),
        }.get(operator, False)

    return test
