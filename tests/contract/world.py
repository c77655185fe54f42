"""A small site of which every kind of object exists, and values for the parameters of paths that name them."""

from dataclasses import dataclass
from typing import Any

import requests

MIGRATOR = ("migrator@example.com", "sandbox-token")
READER = ("reader@example.com", "reader-token")
NO_CHECK = {"X-Atlassian-Token": "no-check"}


@dataclass
class World:
    """One site over HTTP. ``values``: parameter of a path -> what exists, where the path does not tell more."""

    url: str
    session: requests.Session
    values: dict[str, str]
    by_path: list[tuple[str, str]]


def build(url: str) -> World:
    session = requests.Session()
    session.trust_env = False
    session.auth = MIGRATOR

    def post(path: str, body: Any, method: str = "POST", **more: Any) -> Any:
        reply = session.request(method, url + path, json=body, timeout=10, **more)
        assert reply.status_code < 300, (path, reply.text)
        return reply.json() if reply.content else None

    storage = {"representation": "storage", "value": "<p>some text</p>"}
    space = post("/wiki/rest/api/space", {"key": "FUZZ", "name": "Fuzz"})
    page = post("/wiki/api/v2/pages", {"spaceId": str(space["id"]), "status": "current", "title": "P", "body": storage})
    child = post(
        "/wiki/api/v2/pages",
        {"spaceId": str(space["id"]), "status": "current", "title": "C", "parentId": page["id"], "body": storage},
    )
    blog = post(
        "/wiki/api/v2/blogposts", {"spaceId": str(space["id"]), "status": "current", "title": "B", "body": storage}
    )
    files = {"file": ("a.txt", b"x", "text/plain")}
    attached = session.put(
        f"{url}/wiki/rest/api/content/{page['id']}/child/attachment", files=files, headers=NO_CHECK, timeout=10
    ).json()["results"][0]["id"]
    footer = post("/wiki/api/v2/footer-comments", {"pageId": page["id"], "body": storage})
    selection = {"textSelection": "some", "textSelectionMatchCount": 1, "textSelectionMatchIndex": 0}
    inline = post(
        "/wiki/api/v2/inline-comments", {"pageId": page["id"], "body": storage, "inlineCommentProperties": selection}
    )
    reader = session.get(f"{url}/wiki/rest/api/user/current", auth=READER, timeout=10).json()["accountId"]
    group = post("/wiki/rest/api/group", {"name": "fuzzers"})["id"]
    label = {"prefix": "global", "name": "tag"}
    post(f"/wiki/rest/api/content/{page['id']}/label", [label])
    permission = post(
        "/wiki/rest/api/space/FUZZ/permission",
        {"subject": {"type": "group", "identifier": group}, "operation": {"key": "read", "target": "space"}},
    )
    role = session.get(f"{url}/wiki/api/v2/space-roles", timeout=10).json()["results"][0]["id"]
    values = {
        "spaceKey": "FUZZ",
        "key": "FUZZ",
        "groupId": group,
        "accountId": reader,
        "attachmentId": attached,
        "targetId": child["id"],
        "position": "append",
        "operationKey": "read",
        "label": "tag",
        "version-number": "1",
        "space-id": str(space["id"]),
        "page-id": page["id"],
        "blogpost-id": blog["id"],
        "attachment-id": attached,
    }
    by_path = [
        ("/permission/", str(permission["id"])),
        ("/footer-comments", footer["id"]),
        ("/inline-comments", inline["id"]),
        ("/v2/comments", footer["id"]),
        ("/space-roles", role),
        ("/v2/pages", page["id"]),
        ("/v2/blogposts", blog["id"]),
        ("/v2/attachments", attached),
        ("/v2/spaces", str(space["id"])),
        ("/api/content", page["id"]),
        ("/watch/content", page["id"]),
    ]
    for holder, id_ in (
        ("pages", page["id"]),
        ("blogposts", blog["id"]),
        ("spaces", str(space["id"])),
        ("attachments", attached),
        ("comments", footer["id"]),
    ):
        made = post(f"/wiki/api/v2/{holder}/{id_}/properties", {"key": "k", "value": {"a": 1}})
        by_path.insert(0, (f"/v2/{holder} property", made["id"]))
    return World(url, session, values, by_path)


def path_values(world: World, path: str, names: list[str]) -> dict[str, str]:
    """Values of existing objects for all parameters of a path, as far as there are any."""
    found: dict[str, str] = {}
    for name in names:
        if name == "property-id":
            holder = path.partition("/v2/")[2].partition("/")[0]
            value = next((value for part, value in world.by_path if part == f"/v2/{holder} property"), None)
        elif name in world.values:
            value = world.values[name]
        else:
            value = next((value for part, value in world.by_path if part in path and "property" not in part), None)
        if value is not None:
            found[name] = value
    return found
