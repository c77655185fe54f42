"""What requests may hold: fields of v2 bodies and query parameters, after the OpenAPI document of v2; errors of v1 and v2."""

import json
from collections.abc import Callable, Mapping
from typing import Any, TypeGuard

from sandbox.wire import Answer, Document, Refusal, Request, answer

Check = Callable[[Any, str], None]


def v2_error(status: int, title: str, code: str = "INVALID_REQUEST_PARAMETER", detail: str | None = None) -> Answer:
    return answer({"errors": [{"status": status, "code": code, "title": title, "detail": detail}]}, status)


def v2_refuse(status: int, title: str, code: str = "INVALID_REQUEST_PARAMETER") -> Refusal:
    return Refusal(v2_error(status, title, code))


def v2_missing(what: str = "content") -> Refusal:
    """Missing or not permitted: v2 does not tell which."""
    return v2_refuse(404, f"Not Found: no {what} with this id, or it is not visible", "NOT_FOUND")


def v2_unauthorized() -> Refusal:
    return v2_refuse(401, "Unauthorized", "UNAUTHORIZED")


_V1_NAMES = {
    400: "com.atlassian.confluence.api.service.exceptions.api.BadRequestException",
    401: "com.atlassian.confluence.api.service.exceptions.NotAuthenticatedException",
    403: "com.atlassian.confluence.api.service.exceptions.PermissionException",
    404: "com.atlassian.confluence.api.service.exceptions.api.NotFoundException",
    409: "com.atlassian.confluence.api.service.exceptions.api.ConflictException",
    410: "com.atlassian.confluence.api.service.exceptions.GoneException",
}


def v1_error(status: int, message: str, name: str | None = None) -> Answer:
    exception = name or _V1_NAMES.get(status, "java.lang.RuntimeException")
    return answer(
        {
            "statusCode": status,
            "data": {"authorized": status not in (401, 403), "valid": status != 400, "errors": [], "successful": False},
            "message": f"{exception}: {message}",
        },
        status,
    )


def v1_refuse(status: int, message: str, name: str | None = None) -> Refusal:
    return Refusal(v1_error(status, message, name))


def _bad(message: str) -> Refusal:
    return v2_refuse(400, message)


def text(least: int = 0, most: int | None = None) -> Check:
    def check(value: Any, path: str) -> None:
        if not isinstance(value, str):
            raise _bad(f"'{path}' must be a string")
        if len(value) < least:
            raise _bad(f"'{path}' must not be empty")
        if most is not None and len(value) > most:
            raise _bad(f"'{path}' must be at most {most} characters")

    return check


def one_of(*values: str) -> Check:
    def check(value: Any, path: str) -> None:
        if value not in values:
            raise _bad(f"'{path}' must be one of {', '.join(values)}")

    return check


def number(value: Any, path: str) -> None:
    if not isinstance(value, int) or isinstance(value, bool):
        raise _bad(f"'{path}' must be an integer")


def flag(value: Any, path: str) -> None:
    if not isinstance(value, bool):
        raise _bad(f"'{path}' must be a boolean")


def id_text(value: Any, path: str) -> None:
    """Ids are strings of digits in v2 bodies; numbers are taken too, as the real parser coerces them."""
    if isinstance(value, bool) or not (isinstance(value, int) or (isinstance(value, str) and value.isdecimal())):
        raise _bad(f"'{path}' must be an id")


def anything(value: Any, path: str) -> None:
    del value, path


def list_of(check: Check, most: int | None = None, least: int = 0) -> Check:
    def check_list(value: Any, path: str) -> None:
        if not isinstance(value, list):
            raise _bad(f"'{path}' must be an array")
        if len(value) < least or (most is not None and len(value) > most):
            raise _bad(f"'{path}' must hold from {least} to {most} items")
        for index, item in enumerate(value):
            check(item, f"{path}[{index}]")

    return check_list


class Fields:
    """An object: its fields, of which names with ``*`` are required; unknown fields are refused."""

    def __init__(self, **fields: Check) -> None:
        self._checks = fields
        self._required: frozenset[str] = frozenset()

    def require(self, *names: str) -> "Fields":
        self._required = frozenset(names)
        return self

    def __call__(self, value: Any, path: str = "") -> None:
        if not isinstance(value, dict):
            raise _bad(f"'{path or 'body'}' must be an object")
        for name in self._required:
            if value.get(name) is None:
                raise _bad(f"'{_join(path, name)}' is required")
        for name, item in value.items():
            check = self._checks.get(name)
            if check is None:
                raise _bad(f"Unrecognized field '{_join(path, name)}'")
            if item is not None:
                check(item, _join(path, name))


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


REPRESENTATIONS = ("storage", "atlas_doc_format", "wiki")
_FLAT = Fields(representation=one_of(*REPRESENTATIONS), value=text())
_NESTED = Fields(storage=_FLAT, atlas_doc_format=_FLAT, wiki=_FLAT)


def body(value: Any, path: str) -> None:
    if isinstance(value, dict) and ("representation" in value or "value" in value):
        _FLAT(value, path)
        if value.get("representation") is None:
            raise _bad(f"'{path}.representation' is required")
    else:
        _NESTED(value, path)


def body_of(document: Document) -> tuple[str, str]:
    """Representation and value of a ``body`` field that passed ``body``; an absent one is empty."""
    found = document.get("body") or {}
    if "representation" in found:
        return str(found["representation"]), str(found.get("value") or "")
    for name in REPRESENTATIONS:
        if found.get(name):
            return str(found[name].get("representation") or name), str(found[name].get("value") or "")
    return "storage", ""


VERSION = Fields(number=number, message=text()).require("number")
PAGE_CREATE = Fields(
    spaceId=id_text,
    status=one_of("current", "draft"),
    title=text(),
    parentId=id_text,
    body=body,
    subtype=one_of("live"),
).require("spaceId")
PAGE_UPDATE = Fields(
    id=id_text,
    status=one_of("current", "draft"),
    title=text(),
    spaceId=id_text,
    parentId=id_text,
    ownerId=text(),
    body=body,
    version=VERSION,
).require("id", "status", "title", "body", "version")
BLOGPOST_CREATE = Fields(
    spaceId=id_text, status=one_of("current", "draft"), title=text(), body=body, createdAt=text()
).require("spaceId")
BLOGPOST_UPDATE = Fields(
    id=id_text,
    status=one_of("current", "draft"),
    title=text(),
    spaceId=id_text,
    body=body,
    version=VERSION,
    createdAt=text(),
).require("id", "status", "title", "body", "version")
TITLE_UPDATE = Fields(status=one_of("current", "draft"), title=text(1, 255)).require("status", "title")
FOOTER_CREATE = Fields(
    blogPostId=id_text,
    pageId=id_text,
    parentCommentId=id_text,
    attachmentId=text(1),
    customContentId=id_text,
    body=body,
)
INLINE_CREATE = Fields(
    blogPostId=id_text,
    pageId=id_text,
    parentCommentId=id_text,
    body=body,
    inlineCommentProperties=Fields(
        textSelection=text(1), textSelectionMatchCount=number, textSelectionMatchIndex=number
    ),
)
COMMENT_UPDATE = Fields(version=VERSION, body=body, resolved=flag)
FOOTER_UPDATE = Fields(version=VERSION, body=body)
PROPERTY_CREATE = Fields(key=text(1, 255), value=anything).require("key")
PROPERTY_UPDATE = Fields(key=text(1, 255), value=anything, version=VERSION).require("key", "version")
_PRINCIPAL = Fields(principalType=one_of("USER", "GROUP", "ACCESS_CLASS"), principalId=text(1)).require(
    "principalType", "principalId"
)
ASSIGNMENT = Fields(principal=_PRINCIPAL, roleId=text(1)).require("principal")
SPACE_CREATE = Fields(
    name=text(1, 200),
    key=text(1, 255),
    alias=text(1, 255),
    description=Fields(value=text(), representation=text()),
    roleAssignments=list_of(ASSIGNMENT),
    copySpaceAccessConfiguration=number,
    createPrivateSpace=flag,
    templateKey=text(),
).require("name")
EMAILS = Fields(emails=list_of(text(), 100, 1)).require("emails")
ADMIN_KEY = Fields(durationInMinutes=number)
ACCOUNT_IDS = Fields(accountIds=list_of(text(1), 250, 1)).require("accountIds")


def read_json(request: Request) -> Any:
    """The body as JSON whatever its fields; v2 errors where it is none."""
    kind = request.headers.get("content-type", "").split(";")[0].strip().lower()
    if kind != "application/json":
        raise v2_refuse(415, "Unsupported Media Type", "UNSUPPORTED_MEDIA_TYPE")
    try:
        return json.loads(request.body)
    except (ValueError, RecursionError) as error:
        raise _bad("Invalid JSON in the request body") from error


def v2_json(request: Request, fields: Fields) -> Document:
    document = read_json(request)
    fields(document)
    return document  # type: ignore[no-any-return]


def v1_json(request: Request) -> Any:
    kind = request.headers.get("content-type", "").split(";")[0].strip().lower()
    if kind != "application/json":
        raise Refusal(answer({"statusCode": 415, "message": "Unsupported Media Type"}, 415))
    try:
        return json.loads(request.body)
    except (ValueError, RecursionError) as error:
        raise v1_refuse(400, "Could not parse the request body as JSON") from error


def plain_json(request: Request) -> Any:
    """The body as JSON, None where it is none: for APIs whose errors are neither those of v1 nor of v2."""
    try:
        return json.loads(request.body)
    except (ValueError, RecursionError):
        return None


def strings(value: Any) -> TypeGuard[list[str]]:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)


_BOOLEAN = ("true", "false")


def v2_query(request: Request, allowed: Mapping[str, tuple[str, ...] | None]) -> None:
    """Refuse parameters that the operation does not know and values that its enumeration does not hold."""
    for name, value in request.query:
        if name not in allowed:
            raise _bad(f"Unknown query parameter '{name}'")
        values = allowed[name]
        if values is not None:
            for part in value.split(","):
                if part not in values:
                    raise _bad(f"Query parameter '{name}' must be one of {', '.join(values)}")


def bools(*names: str) -> dict[str, tuple[str, ...] | None]:
    return dict.fromkeys(names, _BOOLEAN)


def true(request: Request, name: str) -> bool:
    return request.get(name) == "true"


def v2_id(value: str, what: str = "content") -> int:
    """An id in a path. v2 wants digits there and answers 400 for anything else."""
    if not value.isdecimal() or len(value) > 19:
        raise _bad(f"Provided value for 'id' is not the correct type. Expected type is long ({what})")
    return int(value)


def v2_ids(request: Request, name: str) -> list[int]:
    return [v2_id(value) for value in request.all(name)]
