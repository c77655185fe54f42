"""What the gateway asks for is what the documents of Cloud say each operation needs (``x-atlassian-oauth2-scopes``)."""

import pytest

from sandbox.cloud.scopes import alternatives
from tests.contract.documents import Operation
from tests.contract.test_fuzz import served_operations

#: Operations that the documents give to apps, and the gateway refuses to every app (the project's reference, 3.6).
NO_APP = (
    "POST /wiki/rest/api/space/{spaceKey}/permission",
    "DELETE /wiki/rest/api/space/{spaceKey}/permission/{id}",
)


def documented(operation: Operation) -> set[frozenset[str]]:
    """The sets of scopes of which one suffices."""
    found = operation.spec.get("x-atlassian-oauth2-scopes", [])
    return {frozenset(each["scopes"]) for each in found if each.get("scopes")}


@pytest.mark.parametrize("operation", served_operations(), ids=lambda operation: operation.name)
def test_an_operation_needs_the_scopes_that_its_document_names(operation: Operation):
    needed = {each for each in alternatives(operation.method, operation.path) if each}
    assert needed == (set() if operation.name in NO_APP else documented(operation))
