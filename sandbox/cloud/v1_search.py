"""v1: searching by a small part of CQL. The index lags: what was written a moment ago is not found yet (``search_lag``)."""

import re
import time
from datetime import datetime

from sandbox.cloud.call import V1, Call, Route, webui
from sandbox.cloud.rules import v1_refuse
from sandbox.cloud.state import Content
from sandbox.wire import Answer, Document, answer

_TERM = re.compile(
    r"""\s*(?P<field>space(?:\.key)?|type|title|id|label|ancestor|parent)\s*=\s*(?:"(?P<quoted>[^"]*)"|'(?P<single>[^']*)'|(?P<bare>[\w~.-]+))\s*""",
    re.IGNORECASE,
)


def _terms(cql: str) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    text = re.split(r"\border\s+by\b", cql, maxsplit=1, flags=re.IGNORECASE)[0]
    at = 0
    while at < len(text):
        match = _TERM.match(text, at)
        if match is None:
            raise v1_refuse(400, f"Could not parse cql : {cql}")
        value = next(value for value in match.group("quoted", "single", "bare") if value is not None)
        found.append((match["field"].lower().removesuffix(".key"), value))
        at = match.end()
        if at < len(text):
            joint = re.compile(r"and\b", re.IGNORECASE).match(text, at)
            if joint is None:
                raise v1_refuse(400, f"Could not parse cql : {cql}")
            at = joint.end()
    if not found:
        raise v1_refuse(400, "cql is required")
    return found


def _fits(call: Call, content: Content, field: str, value: str) -> bool:
    match field:
        case "space":
            return call.site.spaces[content.space].key.lower() == value.lower()
        case "type":
            return content.kind == value.lower()
        case "title":
            return content.title.lower() == value.lower()
        case "id":
            return str(content.id) == value
        case "label":
            return any(name == value.lower() for _, name in content.labels)
        case "parent":
            return str(content.parent) == value
        case _:
            number = int(value) if value.isdecimal() else -1
            return content.id != number and call.site.is_below(content, number)


def _found(call: Call) -> list[Content]:
    cql = call.request.get("cql")
    if not cql:
        raise v1_refuse(400, "cql is required")
    terms, site = _terms(cql), call.site
    indexed = time.time() - site.search_lag
    return [
        content
        for content in site.content.values()
        if content.status == "current"
        and datetime.fromisoformat(content.version.created).timestamp() <= indexed
        and all(_fits(call, content, field, value) for field, value in terms)
        and site.sees(call.account, content)
    ]


def _content_doc(call: Call, content: Content) -> Document:
    links = {"webui": webui(call.site, content), "self": f"{call.request.origin}/wiki/rest/api/content/{content.id}"}
    return {
        "id": str(content.id),
        "type": content.kind,
        "status": content.status,
        "title": content.title,
        "_expandable": {"space": f"/rest/api/space/{call.site.spaces[content.space].key}"},
        "_links": links,
    }


def _search_content(call: Call) -> Answer:
    return call.v1_list(_found(call), lambda content: _content_doc(call, content))


def _search(call: Call) -> Answer:
    found = _found(call)
    start, limit = call.v1_number("start", 0), min(call.v1_number("limit", 25), 200)
    page = found[start : start + limit]
    return answer(
        {
            "results": [
                {
                    "content": _content_doc(call, content),
                    "title": content.title,
                    "excerpt": "",
                    "url": webui(call.site, content),
                    "breadcrumbs": [],
                    "entityType": "content",
                    "iconCssClass": "",
                    "lastModified": content.version.created,
                    "friendlyLastModified": "",
                    "score": 0.0,
                }
                for content in page
            ],
            "start": start,
            "limit": limit,
            "size": len(page),
            "totalSize": len(found),
            "cqlQuery": call.request.get("cql"),
            "searchDuration": 1,
            "_links": {"base": f"{call.request.origin}/wiki", "context": "/wiki"},
        }
    )


ROUTES: list[Route] = [
    ("GET", f"{V1}/content/search", _search_content),
    ("GET", f"{V1}/search", _search),
]
