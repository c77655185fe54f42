"""Atlassian's OpenAPI documents: which operation a request is, and what is wrong with a request or an answer."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote

import jsonschema_rs

REFERENCE = Path(__file__).parents[3] / "shared" / "reference" / "openapi"
_METHODS = ("get", "post", "put", "delete", "patch")
#: File, and what stands before its paths.
CLOUD = (
    ("confluence-cloud-v1.2024-02.json", ""),
    ("confluence-cloud-v2.2025-08.json", "/wiki/api/v2"),
    ("jira-cloud-platform-v3.users-groups.2025-09.json", ""),
)
#: Of Data Center there is one document. It describes what it calls the context, so paths are as they stand there.
SERVER = (("confluence-dc-10.0.3.json", ""),)
SERVER_MAJOR = 10


@dataclass
class Exchange:
    """One request and its answer, as they went over the wire."""

    method: str
    path: str
    query: str
    headers: dict[str, str]
    body: bytes
    status: int
    content_type: str
    reply: bytes


@dataclass
class Document:
    name: str
    root: dict[str, Any]

    def at(self, node: Any) -> Any:
        while isinstance(node, dict) and "$ref" in node:
            found: Any = self.root
            for part in node["$ref"].removeprefix("#/").split("/"):
                found = found[part.replace("~1", "/").replace("~0", "~")]
            node = found
        return node

    def validator(self, schema: dict[str, Any]) -> Any:
        """A validator that holds the schema and what it refers to: the whole document would be compiled each time."""
        schemas: dict[str, Any] = {}
        rest = [schema]
        while rest:
            node = rest.pop()
            if isinstance(node, list):
                rest.extend(node)
            elif isinstance(node, dict):
                name = str(node.get("$ref", "")).removeprefix("#/components/schemas/")
                if name and name not in schemas:
                    schemas[name] = self.root["components"]["schemas"][name]
                    rest.append(schemas[name])
                rest.extend(node.values())
        return jsonschema_rs.Draft202012Validator({**schema, "components": {"schemas": schemas}})


@dataclass
class Operation:
    """``name``: method and path as the document has it, e.g. ``GET /wiki/api/v2/pages/{id}``."""

    name: str
    method: str
    path: str
    document: Document
    spec: dict[str, Any]
    shared: list[Any]
    raw: tuple[str, str]
    _bodies: dict[str, Any] = field(default_factory=dict)

    @cached_property
    def pattern(self) -> re.Pattern[str]:
        parts = re.split(r"\{([^}]+)\}", self.path)
        return re.compile("".join(re.escape(part) if not index % 2 else "([^/]+)" for index, part in enumerate(parts)))

    @cached_property
    def names(self) -> list[str]:
        return re.findall(r"\{([^}]+)\}", self.path)

    @cached_property
    def parameters(self) -> list[dict[str, Any]]:
        found = {}
        for item in [*self.shared, *self.spec.get("parameters", [])]:
            parameter = self.document.at(item)
            found[parameter["in"], parameter["name"]] = parameter
        return list(found.values())

    @cached_property
    def checks(self) -> dict[tuple[str, str], Any]:
        return {
            (item["in"], item["name"]): self.document.validator(item["schema"])
            for item in self.parameters
            if "schema" in item
        }

    # what is wrong

    def request_problems(self, exchange: Exchange) -> Iterator[str]:
        known = {(item["in"], item["name"]): item for item in self.parameters}
        given: dict[str, list[str]] = {}
        for name, value in parse_qsl(exchange.query, keep_blank_values=True):
            given.setdefault(name, []).append(value)
        for name, values in given.items():
            parameter = known.get(("query", name))
            if parameter is None:
                yield f"query parameter {name} is not documented"
            else:
                yield from self._parameter_problems(parameter, values)
        for parameter in self.parameters:
            if parameter.get("required") and parameter["in"] == "query" and parameter["name"] not in given:
                yield f"query parameter {parameter['name']} is required"
        match = self.pattern.fullmatch(exchange.path)
        assert match is not None
        for name, value in zip(self.names, match.groups(), strict=True):
            if ("path", name) in known:
                yield from self._parameter_problems(known["path", name], [unquote(value)])
        yield from self._body_problems(exchange)

    def _parameter_problems(self, parameter: dict[str, Any], values: list[str]) -> Iterator[str]:
        schema = self.document.at(parameter.get("schema", {}))
        check = self.checks.get((parameter["in"], parameter["name"]))
        if check is None:
            return
        kind = _kind(schema)
        if kind == "array":
            items = self.document.at(schema.get("items", {}))
            if parameter.get("explode") is False or len(values) == 1:
                values = [part for value in values for part in value.split(",")]
            value: Any = [_coerced(_kind(items), value) for value in values]
        else:
            value = _coerced(kind, values[-1])
        for error in check.iter_errors(value):
            yield f"{parameter['in']} parameter {parameter['name']}: {_said(error)}"

    def _body_problems(self, exchange: Exchange) -> Iterator[str]:
        wanted = self.document.at(self.spec.get("requestBody"))
        if not exchange.body:
            if wanted and wanted.get("required"):
                yield "a body is required"
            return
        if wanted is None:
            yield "no body is documented"
            return
        kind = exchange.headers.get("content-type", "").split(";")[0].strip().lower()
        content = {name.split(";")[0].lower(): media for name, media in wanted.get("content", {}).items()}
        if kind not in content and "*/*" not in content:
            yield f"content type {kind} is not documented"
            return
        schema = content.get(kind, {}).get("schema")
        if kind != "application/json" or schema is None:
            return
        yield from self._schema_problems("request", schema, exchange.body)

    def answer_problems(self, exchange: Exchange) -> Iterator[str]:
        responses = self.spec.get("responses", {})
        response = self.document.at(responses.get(str(exchange.status)) or responses.get("default"))
        if response is None:
            yield f"status {exchange.status} is not documented"
            return
        media = next((item for name, item in response.get("content", {}).items() if "json" in name), None)
        if media is None or "schema" not in media:
            return
        if "json" not in exchange.content_type:
            yield f"status {exchange.status}: the answer is not JSON"
            return
        yield from self._schema_problems(str(exchange.status), media["schema"], exchange.reply)

    def _schema_problems(self, name: str, schema: dict[str, Any], text: bytes) -> Iterator[str]:
        if name not in self._bodies:
            self._bodies[name] = self.document.validator(schema)
        try:
            value = json.loads(text)
        except ValueError:
            yield f"{name}: not JSON"
            return
        for error in self._bodies[name].iter_errors(value):
            where = "/".join(str(part) for part in error.instance_path if not isinstance(part, int))
            yield f"{name}: {where or 'body'}: {_said(error)}"


class Documents:
    """All operations of some documents."""

    def __init__(self, files: tuple[tuple[str, str], ...] = CLOUD, product: str = "") -> None:
        self.operations: list[Operation] = []
        for file, prefix in files:
            root = _strict(json.loads((REFERENCE / file).read_text()))
            document = Document(file, root)
            for path, item in root["paths"].items():
                for method in _METHODS:
                    if method in item:
                        name = f"{product}{method.upper()} {prefix}{path}"
                        self.operations.append(
                            Operation(
                                name,
                                method.upper(),
                                prefix + path,
                                document,
                                item[method],
                                item.get("parameters", []),
                                (file, path),
                            )
                        )
        # A path of literals wins over one with a parameter in the same place.
        self.operations.sort(key=lambda operation: operation.path.replace("{", "\U0010ffff"))
        self._by_shape: dict[tuple[str, int], list[Operation]] = {}
        for operation in self.operations:
            self._by_shape.setdefault((operation.method, operation.path.count("/")), []).append(operation)

    def find(self, method: str, path: str) -> Operation | None:
        method = "GET" if method == "HEAD" else method
        for operation in self._by_shape.get((method, path.count("/")), ()):
            if operation.pattern.fullmatch(path):
                return operation
        return None


def _said(error: Any) -> str:
    """What is wrong, without the value: equal problems have equal words."""
    message = str(error.message)
    for words in (
        " is valid under more than",
        " is not ",
        " does not match ",
        " is too ",
        " is less than ",
        " is greater ",
    ):
        _, found, rest = message.rpartition(words)
        if found:
            return f"…{found}{rest[:160]}"
    return message[:160]


def _kind(schema: dict[str, Any]) -> str:
    kind = schema.get("type")
    return next((item for item in kind if item != "null"), "") if isinstance(kind, list) else str(kind or "")


def _coerced(kind: str, value: str) -> Any:
    if kind in ("integer", "number"):
        try:
            return int(value)
        except ValueError:
            return value
    if kind == "boolean":
        return {"true": True, "false": False}.get(value, value)
    return value


def _strict(node: Any) -> Any:
    """Schemas of OpenAPI 3.0 as JSON Schema: ``nullable``, and bounds that exclude themselves by a flag."""
    if isinstance(node, list):
        return [_strict(item) for item in node]
    if not isinstance(node, dict):
        return node
    node = {name: _strict(value) for name, value in node.items()}
    for bound in ("Minimum", "Maximum"):
        if isinstance(node.get(f"exclusive{bound}"), bool):
            excluded = node.pop(f"exclusive{bound}")
            if excluded and bound.lower() in node:
                node[f"exclusive{bound}"] = node.pop(bound.lower())
    if node.get("nullable") is True:
        del node["nullable"]
        if isinstance(node.get("type"), str):
            node["type"] = [node["type"], "null"]
            if isinstance(node.get("enum"), list) and None not in node["enum"]:
                node["enum"].append(None)
        elif "$ref" in node or "allOf" in node or "oneOf" in node:
            node = {"anyOf": [node, {"type": "null"}]}
    return node
