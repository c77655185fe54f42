"""The canonical document: equal for equal sites whatever their ids, different when anything is gone."""

from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import pytest

from sandbox.app import Sandbox
from sandbox.cloud.site import Cloud
from tests.unit.sandbox_cloud.conftest import Site

BODY = {"representation": "storage", "value": "<p>c</p>"}


async def fill(site: Site) -> dict[str, Any]:
    """A site with one of each thing. Answers the ids."""
    reader = (await site.reader.get("/wiki/rest/api/user/current")).json()["accountId"]
    migrator = (await site.migrator.get("/wiki/rest/api/user/current")).json()["accountId"]
    space = await site.space()
    page = await site.page(space, "Page", "<p>the red fox</p>")
    link = f'<p><ac:link><ri:content-entity ri:content-id="{page["id"]}"/></ac:link> <ri:user ri:account-id="{reader}"/></p>'
    below = await site.page(space, "Below", link, parentId=page["id"])
    other = await site.page(space, "Other", parentId=page["id"])
    blog = await site.migrator.post(
        "/wiki/api/v2/blogposts",
        json={"spaceId": str(space["id"]), "title": "News", "createdAt": "2012-01-30T09:00:00.000Z", "body": BODY},
    )
    await site.attach(page["id"], "a.txt", b"one")
    attachment = (await site.attach(page["id"], "a.txt", b"two")).json()["results"][0]
    footer = await site.migrator.post("/wiki/api/v2/footer-comments", json={"pageId": page["id"], "body": BODY})
    reply = await site.migrator.post(
        "/wiki/api/v2/footer-comments", json={"parentCommentId": footer.json()["id"], "body": BODY}
    )
    selection = {"textSelection": "red", "textSelectionMatchCount": 1, "textSelectionMatchIndex": 0}
    inline = await site.migrator.post(
        "/wiki/api/v2/inline-comments",
        json={"pageId": page["id"], "body": BODY, "inlineCommentProperties": selection},
    )
    await site.migrator.post(f"/wiki/rest/api/content/{page['id']}/label", json=[{"prefix": "global", "name": "red"}])
    await site.migrator.post(f"/wiki/api/v2/comments/{footer.json()['id']}/properties", json={"key": "k", "value": 7})
    await site.migrator.post("/wiki/rest/api/space/ENG/label", json=[{"prefix": "team", "name": "crew"}])
    kept = await site.migrator.post(f"/wiki/api/v2/spaces/{space['id']}/properties", json={"key": "k", "value": 1})
    prop = await site.migrator.post(f"/wiki/api/v2/pages/{page['id']}/properties", json={"key": "k", "value": {"a": 1}})
    users = [{"type": "known", "accountId": id_} for id_ in (reader, migrator)]
    await site.migrator.put(
        f"/wiki/rest/api/content/{below['id']}/restriction",
        json=[{"operation": "read", "restrictions": {"user": users}}],
    )
    group = (await site.migrator.post("/wiki/rest/api/group", json={"name": "team"})).json()["id"]
    await site.migrator.post(f"/wiki/rest/api/group/userByGroupId?groupId={group}", json={"accountId": reader})
    permission = await site.migrator.post(
        "/wiki/rest/api/space/ENG/permission",
        json={"subject": {"type": "user", "identifier": reader}, "operation": {"key": "read", "target": "space"}},
    )
    await site.migrator.post("/wiki/api/v2/user/access/invite-by-email", json={"emails": ["new@example.com"]})
    await site.migrator.post(
        f"/wiki/rest/api/user/watch/content/{page['id']}", headers={"X-Atlassian-Token": "no-check"}
    )
    found = (await site.migrator.get("/rest/api/3/user/search?query=new@example.com")).json()
    return {
        "reader": reader,
        "space": space["id"],
        "space property": kept.json()["id"],
        "page": page["id"],
        "below": below["id"],
        "other": other["id"],
        "blog": blog.json()["id"],
        "attachment": attachment["id"],
        "reply": reply.json()["id"],
        "footer": footer.json()["id"],
        "inline": inline.json()["id"],
        "property": prop.json()["id"],
        "group": group,
        "permission": permission.json()["id"],
        "new": found[0]["accountId"],
    }


Removal = Callable[[httpx.AsyncClient, dict[str, Any]], Awaitable[httpx.Response]]
V1, V2 = "/wiki/rest/api", "/wiki/api/v2"
REMOVALS: dict[str, Removal] = {
    "a page": lambda c, i: c.delete(f"{V2}/pages/{i['other']}"),
    "a blog post": lambda c, i: c.delete(f"{V2}/blogposts/{i['blog']}"),
    "an attachment": lambda c, i: c.delete(f"{V2}/attachments/{i['attachment']}"),
    "a footer comment": lambda c, i: c.delete(f"{V2}/footer-comments/{i['footer']}"),
    "a reply": lambda c, i: c.delete(f"{V2}/footer-comments/{i['reply']}"),
    "an inline comment": lambda c, i: c.delete(f"{V2}/inline-comments/{i['inline']}"),
    "a label": lambda c, i: c.delete(f"{V1}/content/{i['page']}/label/red"),
    "a property": lambda c, i: c.delete(f"{V2}/pages/{i['page']}/properties/{i['property']}"),
    "a restriction": lambda c, i: c.delete(f"{V1}/content/{i['below']}/restriction"),
    "one account of a restriction": lambda c, i: c.delete(
        f"{V1}/content/{i['below']}/restriction/byOperation/read/user", params={"accountId": i["reader"]}
    ),
    "a permission": lambda c, i: c.delete(f"{V1}/space/ENG/permission/{i['permission']}"),
    "a group": lambda c, i: c.delete(f"{V1}/group/by-id", params={"id": i["group"]}),
    "a member": lambda c, i: c.delete(
        f"{V1}/group/userByGroupId", params={"groupId": i["group"], "accountId": i["reader"]}
    ),
    "a watch": lambda c, i: c.delete(f"{V1}/user/watch/content/{i['page']}", headers={"X-Atlassian-Token": "no-check"}),
    "a property of the space": lambda c, i: c.delete(f"{V2}/spaces/{i['space']}/properties/{i['space property']}"),
    "the space": lambda c, i: c.delete(f"{V1}/space/ENG"),
}


@pytest.fixture
async def filled(site: Site) -> tuple[Site, dict[str, Any]]:
    return site, await fill(site)


@pytest.mark.parametrize("what", REMOVALS)
async def test_the_document_differs_without(what: str, filled: tuple[Site, dict[str, Any]]) -> None:
    site, ids = filled
    before = await site.canonical()
    reply = await REMOVALS[what](site.migrator, ids)
    assert reply.status_code in (200, 202, 204), reply.text
    assert await site.canonical() != before


UNASKED = (
    "an older version of an attachment",
    "the comment of an older version",
    "the media type of an older version",
    "the order of comments",
    "a label of the space",
    "a property of a comment",
    "the body of a comment",
    "the mail",
    "access",
    "an account",
)


@pytest.mark.parametrize("what", UNASKED)
async def test_the_document_differs_without_what_no_request_removes(
    what: str, filled: tuple[Site, dict[str, Any]], sandbox: Sandbox
) -> None:
    site, ids = filled
    back = sandbox.fronts[site.name].back
    assert isinstance(back, Cloud)
    before = await site.canonical()
    if what == "an older version of an attachment":
        del back.site.attachments[int(ids["attachment"].removeprefix("att"))].versions[0]
    elif what == "the comment of an older version":
        back.site.attachments[int(ids["attachment"].removeprefix("att"))].versions[0].comment = ""
    elif what == "the media type of an older version":
        back.site.attachments[int(ids["attachment"].removeprefix("att"))].versions[0].media_type = "text/html"
    elif what == "the order of comments":
        back.site.content[int(ids["page"])].comments.reverse()
    elif what == "a label of the space":
        back.site.space_keys["eng"].labels.clear()
    elif what == "a property of a comment":
        back.site.comments[int(ids["footer"])].properties.clear()
    elif what == "the body of a comment":
        back.site.comments[int(ids["reply"])].body = ""
    elif what == "the mail":
        back.site.mails.clear()
    else:
        account = back.site.accounts[ids["new"]]
        back.site.leave(account, back.site.product_group("confluence"))
        if what == "an account":
            del back.site.accounts[account.id]
    assert await site.canonical() != before


async def test_the_document_differs_when_body_title_order_or_parent_change(
    filled: tuple[Site, dict[str, Any]],
) -> None:
    site, ids = filled
    seen = [await site.canonical()]
    move = f"{V1}/content/{ids['other']}/move"
    await site.migrator.put(f"{move}/before/{ids['below']}")
    seen.append(await site.canonical())
    await site.migrator.put(f"{move}/append/{ids['below']}")
    seen.append(await site.canonical())
    update = {"id": ids["other"], "status": "current", "title": "Other", "version": {"number": 2}}
    body = {"representation": "storage", "value": "<p>y</p>"}
    await site.migrator.put(f"{V2}/pages/{ids['other']}", json=update | {"body": body})
    seen.append(await site.canonical())
    await site.migrator.put(f"{V2}/pages/{ids['other']}/title", json={"status": "current", "title": "Last"})
    seen.append(await site.canonical())
    assert len({str(document) for document in seen}) == 5


async def test_two_sites_with_other_ids_have_the_same_document(make_site: Any) -> None:
    first, second = await make_site(), await make_site()
    other = await second.space("TMP")
    await second.migrator.delete("/wiki/rest/api/space/TMP")
    ids = [await fill(first), await fill(second)]
    assert other["id"] > 0
    assert ids[0]["page"] != ids[1]["page"]
    documents = [str(await site.canonical()).replace(site.name, "SITE") for site in (first, second)]
    assert documents[0] == documents[1]
    assert ids[0]["page"] not in documents[0]
    assert "{page ENG/Page}" in documents[0]
    assert "{account reader@example.com}" in documents[0]


async def test_on_a_site_with_roles_the_document_tells_who_has_which(make_site: Any) -> None:
    site = await make_site(mode="roles")
    space = await site.space()
    roles = (await site.migrator.get("/wiki/api/v2/space-roles")).json()["results"]
    reader = (await site.reader.get("/wiki/rest/api/user/current")).json()["accountId"]

    async def give(role: str | None) -> list[str]:
        id_ = next((each["id"] for each in roles if each["name" if "name" in each else "displayName"] == role), None)
        principal = {"principalType": "USER", "principalId": reader}
        reply = await site.migrator.post(
            f"/wiki/api/v2/spaces/{space['id']}/role-assignments", json=[{"principal": principal, "roleId": id_}]
        )
        assert reply.status_code == 200, reply.text
        return list((await site.canonical())["spaces"][0]["roles"])

    assert "Manager: user reader@example.com" in await give("Manager")
    assert "Viewer: user reader@example.com" in await give("Viewer")
    assert not any("reader" in each for each in await give(None))
