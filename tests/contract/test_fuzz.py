"""Whatever is sent, the Cloud stand-in answers as its documents say, and never fails itself.

Schemathesis makes requests from the documents, right ones and wrong ones; paths name objects that exist, so that bodies
and queries are read. The answers are judged by the run that this is part of (``python -m tests.contract``).
"""

import contextlib
import json
import warnings
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode

from sandbox.cloud.site import OPERATIONS
from tests.contract.conftest import Served
from tests.contract.documents import CLOUD, REFERENCE, Documents, Operation
from tests.contract.world import NO_CHECK, READER, World, build, path_values

EXAMPLES = 4
WRONG: tuple[Any, ...] = (
    None, True, 7, -1, 10**30, 1.5, "", "x", "\ufffd" * 300, [], [None], ["x"], [[1]], [{}], {}, {"x": 1}, {"id": []},
    {"results": 1}, {"value": {}}, {"representation": []},
)  # fmt: skip


def served_operations() -> list[Operation]:
    """The operations that the stand-in claims and a document describes, those that delete at the end."""
    if not REFERENCE.is_dir():
        return []
    documents = Documents()
    found = {}
    for method, template in OPERATIONS:
        operation = documents.find(method, template.replace("{", "").replace("}", ""))
        if operation is not None:
            found[operation.name] = operation
    return sorted(found.values(), key=lambda operation: operation.method == "DELETE")


@pytest.fixture(scope="module")
def world(served: Served) -> World:
    return build(served.add("fuzz", search_lag=0))


@pytest.fixture(scope="module")
def schemas() -> dict[str, Any]:
    return {file: schemathesis.openapi.from_path(REFERENCE / file) for file, _ in CLOUD}


def send(world: World, operation: Operation, path: dict[str, str], **more: Any) -> None:
    url = world.url + operation.path
    for name in operation.names:
        url = url.replace(f"{{{name}}}", path.get(name, "1"))
    headers = NO_CHECK | more.pop("headers", {})
    reply = world.session.request(operation.method, url, headers=headers, timeout=20, allow_redirects=False, **more)
    assert reply.status_code < 500, (operation.name, more, reply.text)


@pytest.mark.parametrize("operation", served_operations(), ids=lambda operation: operation.name)
def test_generated_requests_are_answered(operation: Operation, world: World, schemas: dict[str, Any]):
    file, template = operation.raw
    described = schemas[file][template][operation.method]
    exists = path_values(world, operation.path, operation.names)
    send(world, operation, exists)
    send(world, operation, exists, auth=READER)
    if operation.names:
        send(world, operation, dict.fromkeys(operation.names, "99999999"))
    for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE):
        strategy = described.as_strategy(generation_mode=mode, path_parameters=exists or None)

        @seed(7)
        @settings(
            max_examples=EXAMPLES,
            deadline=None,
            database=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(case=strategy)
        def drive(case: Any) -> None:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                reply = case.call(
                    base_url=world.url + operation.path.removesuffix(template),
                    session=world.session,
                    headers=NO_CHECK,
                    allow_redirects=False,
                    timeout=20,
                )
            assert reply.status_code < 500, (operation.name, case.body, reply.content)

        # An operation without a parameter or body can be asked in no wrong way.
        with contextlib.suppress(Unsatisfiable):
            drive()


@pytest.mark.parametrize(
    "operation",
    [operation for operation in served_operations() if "application/json" in str(operation.spec.get("requestBody"))
     or "$ref" in operation.spec.get("requestBody", {})],
    ids=lambda operation: operation.name,
)  # fmt: skip
def test_a_body_with_values_of_wrong_types_is_refused_or_taken_and_fails_nothing(operation: Operation, world: World):
    exists = path_values(world, operation.path, operation.names)
    headers = {"Content-Type": "application/json"}
    for value in WRONG:
        send(world, operation, exists, data=json.dumps(value), headers=headers)
    send(world, operation, exists, data=b'{"a": "\xff', headers=headers)
    send(world, operation, exists, data=b"[" * 20_000, headers=headers)
    for body in _broken(operation):
        send(world, operation, exists, data=json.dumps(body), headers=headers)


def _broken(operation: Operation) -> list[Any]:
    """Bodies with every documented field, one of them of a wrong type at a time, to the third level."""
    media = operation.document.at(operation.spec["requestBody"])["content"].get("application/json")
    if media is None or "schema" not in media:
        return []
    good = _sample(operation, media["schema"], 0)
    found: list[Any] = []
    for path in _paths(good):
        for value in WRONG:
            found.append(_with(good, path, value))
    return found[:: max(1, len(found) // 100)]


def _sample(operation: Operation, schema: dict[str, Any], depth: int) -> Any:
    schema = operation.document.at(schema)
    for joint in ("oneOf", "anyOf", "allOf"):
        if joint in schema:
            parts = [_sample(operation, part, depth) for part in schema[joint] if part != {"type": "null"}]
            merged: dict[str, Any] = {}
            for part in parts if joint == "allOf" else parts[:1]:
                merged |= part if isinstance(part, dict) else {}
            return merged or (parts[0] if parts else None)
    kind = schema.get("type")
    kind = kind[0] if isinstance(kind, list) else kind
    if kind == "object" or "properties" in schema:
        if depth > 4:
            return {}
        return {name: _sample(operation, part, depth + 1) for name, part in schema.get("properties", {}).items()}
    if kind == "array":
        return [_sample(operation, schema.get("items", {}), depth + 1)]
    if "enum" in schema:
        return schema["enum"][0]
    return {"string": "1", "integer": 2, "number": 2, "boolean": True}.get(str(kind), "1")


def _paths(value: Any, depth: int = 0) -> list[list[Any]]:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else []
    found: list[list[Any]] = []
    for key, inner in items:
        found.append([key])
        if depth < 3:
            found += [[key, *rest] for rest in _paths(inner, depth + 1)]
    return found


def _with(value: Any, path: list[Any], wrong: Any) -> Any:
    copy = json.loads(json.dumps(value))
    node = copy
    for key in path[:-1]:
        node = node[key]
    node[path[-1]] = wrong
    return copy
