"""The Data Center stand-in of the document's release answers every operation it claims as the document says, and never fails.

As for Cloud: requests come from schemathesis, paths name what exists, and the answers are judged by the run that this is
part of (``python -m tests.contract``). Whatever is not read is refused: a stand-in of a source is only read from.
"""

import contextlib
import warnings
from typing import Any

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode

from sandbox.server.rest import ROUTES
from tests.contract.conftest import Served
from tests.contract.documents import REFERENCE, SERVER, Documents, Operation

EXAMPLES = 6
ADMIN, READER, NOBODY = ("admin", "admin"), ("bea.south", "bea.south"), ("nobody", "wrong")
#: What can be expanded, so that every part of an entity is seen.
EXPAND = (
    "", "space,version,ancestors,container,body.storage", "history.lastUpdated,history.contributors,metadata.labels",
    "children.page,children.attachment,children.comment,descendants", "restrictions.read.restrictions.user,extensions",
    "description.plain,homepage,metadata.labels,creator", "status", "read.restrictions.user,update.restrictions.group",
)  # fmt: skip


def served_operations() -> list[Operation]:
    """The operations that the stand-in claims and the document describes."""
    if not REFERENCE.is_dir():
        return []
    documents, found = Documents(SERVER, "DC "), {}
    for path, _, _ in ROUTES:
        operation = documents.find("GET", path.replace("{", "").replace("}", ""))
        if operation is not None:
            found[operation.name] = operation
    return list(found.values())


class Wiki:
    """The sample wiki, and what in it the parameters of paths may name."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.session = requests.Session()
        self.session.trust_env = False
        space = self.get("/rest/api/space", type="global")["results"][0]["key"]
        pages = self.get("/rest/api/content", spaceKey=space, limit="50")["results"]
        self.pages = [page["id"] for page in pages]
        user = self.get("/rest/api/user/list")["results"][0]
        group = self.get("/rest/api/group")["results"][0]["name"]
        self.values = {"spaceKey": space, "groupName": group, "operationKey": "read", "type": "page"}
        self.required = {"username": user["username"], "key": user["userKey"], "cql": "type = page"}

    def get(self, path: str, **query: str) -> Any:
        reply = self.session.get(self.url + path, params=query, auth=ADMIN, timeout=10)
        assert reply.status_code == 200, (path, reply.text)
        return reply.json()

    def path(self, operation: Operation, page: str) -> dict[str, str]:
        return {name: self.values.get(name, page) for name in operation.names}

    def ask(self, operation: Operation, names: dict[str, str], auth: Any = ADMIN, **query: str) -> None:
        path = operation.path
        for name, value in names.items():
            path = path.replace(f"{{{name}}}", value)
        reply = self.session.get(self.url + path, params=query, auth=auth, timeout=10)
        assert reply.status_code < 500, (operation.name, query, reply.text)


@pytest.fixture(scope="module")
def wiki(served: Served) -> Wiki:
    return Wiki(
        served.add("document-release", "server", version="10.0.3", sample="south", rate_limit={"capacity": 10**6})
    )


@pytest.fixture(scope="module")
def schema() -> Any:
    return schemathesis.openapi.from_path(REFERENCE / SERVER[0][0])


@pytest.mark.parametrize("operation", served_operations(), ids=lambda operation: operation.name)
def test_everything_there_is_is_answered_in_every_expansion(operation: Operation, wiki: Wiki):
    needed = {"username": wiki.required["username"]} if operation.path.startswith("/rest/api/user") else {}
    needed |= {"cql": wiki.required["cql"]} if "search" in operation.path else {}
    for page in wiki.pages if "id" in operation.names else wiki.pages[:1]:
        for expand in EXPAND:
            wiki.ask(operation, wiki.path(operation, page), **needed, **({"expand": expand} if expand else {}))
    for auth in (READER, NOBODY, None):
        wiki.ask(operation, wiki.path(operation, wiki.pages[0]), auth, **needed)
    wiki.ask(operation, dict.fromkeys(operation.names, "99999999"))
    wiki.ask(operation, wiki.path(operation, wiki.pages[0]), limit="0", start="-1", cql="nonsense =", key="nobody")


@pytest.mark.parametrize("operation", served_operations(), ids=lambda operation: operation.name)
def test_generated_requests_are_answered(operation: Operation, wiki: Wiki, schema: Any):
    described = schema[operation.raw[1]]["GET"]
    for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE):
        strategy = described.as_strategy(
            generation_mode=mode, path_parameters=wiki.path(operation, wiki.pages[0]) or None
        )

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
                    base_url=wiki.url, session=wiki.session, auth=ADMIN, allow_redirects=False, timeout=20
                )
            assert reply.status_code < 500, (operation.name, case.query, reply.content)

        # An operation without a parameter can be asked in no wrong way.
        with contextlib.suppress(Unsatisfiable):
            drive()
