"""Who may read and write what, and how the site says no."""

from typing import Any

import httpx
import pytest

from sandbox.app import Instance, Sandbox
from tests.unit.sandbox_cloud.conftest import MIGRATOR, READER, Site


async def account_of(client: httpx.AsyncClient) -> str:
    return (await client.get("/wiki/rest/api/user/current")).json()["accountId"]


async def status(client: httpx.AsyncClient, page: dict[str, Any]) -> int:
    return (await client.get(f"/wiki/api/v2/pages/{page['id']}")).status_code


async def restrict(site: Site, page: dict[str, Any], *accounts: str) -> httpx.Response:
    users = [{"type": "known", "accountId": account} for account in accounts]
    return await site.migrator.put(
        f"/wiki/rest/api/content/{page['id']}/restriction",
        json=[{"operation": "read", "restrictions": {"user": users}}],
    )


async def test_a_wrong_token_answers_200_as_anonymous_and_can_do_nothing(site: Site) -> None:
    space = await site.space()
    page = await site.page(space, "P")
    wrong = site.client((MIGRATOR[0], "wrong"))
    current = await wrong.get("/wiki/rest/api/user/current")
    assert (current.status_code, current.json()["type"]) == (200, "anonymous")
    assert await status(wrong, page) == 404
    assert (await wrong.post("/wiki/api/v2/pages", json={"spaceId": str(space["id"]), "title": "T"})).status_code == 401
    assert (await wrong.post("/wiki/rest/api/space", json={"key": "K", "name": "N"})).status_code == 401
    assert (await wrong.get("/wiki/rest/api/group")).status_code == 401


async def test_who_was_anonymous_for_want_of_an_account_is_somebody_once_there_is_one(sandbox: Sandbox) -> None:
    await sandbox.add(Instance("late", "cloud", 0, {"tokens": {"late@example.com": "late-token"}}))
    site = Site(sandbox, "late")
    late = site.client(("late@example.com", "late-token"))
    assert (await late.get("/wiki/rest/api/user/current")).json()["type"] == "anonymous"
    await site.migrator.post("/rest/api/3/user", json={"emailAddress": "late@example.com", "products": []})
    assert (await late.get("/wiki/rest/api/user/current")).json()["type"] == "known"
    await site.close()


async def test_a_new_space_is_open_to_everyone_with_access_and_a_private_one_to_its_creator(site: Site) -> None:
    open_space, private = await site.space("OPEN"), await site.space("PRIV", private=True)
    seen, hidden = await site.page(open_space, "P"), await site.page(private, "P")
    assert (await status(site.reader, seen), await status(site.reader, hidden)) == (200, 404)
    assert await status(site.anonymous, seen) == 404
    assert (await site.reader.get(f"/wiki/api/v2/spaces/{private['id']}")).status_code == 404
    assert (await site.reader.get("/wiki/rest/api/space/PRIV")).status_code == 404
    listed = (await site.reader.get("/wiki/api/v2/pages")).json()["results"]
    assert {page["spaceId"] for page in listed} == {str(open_space["id"])}


async def test_space_permissions_are_granted_one_by_one_read_first_and_apply_to_later_reads(site: Site) -> None:
    space = await site.space(private=True)
    page = await site.page(space, "P")
    reader = await account_of(site.reader)
    path = f"/wiki/rest/api/space/{space['key']}/permission"

    def grant(key: str, target: str, identifier: str = reader) -> dict[str, Any]:
        return {"subject": {"type": "user", "identifier": identifier}, "operation": {"key": key, "target": target}}

    assert (await site.migrator.post(path, json=grant("create", "page"))).status_code == 400
    assert (await site.migrator.post(path, json=grant("fly", "space"))).status_code == 400
    assert (await site.migrator.post(path, json=grant("read", "space", "712020:nobody"))).status_code == 400
    assert (await site.migrator.post(path, json=grant("read", "space"))).status_code == 200
    again = await site.migrator.post(path, json=grant("read", "space"))
    assert (again.status_code, "Permission already exists" in again.text) == (400, True)
    assert (await status(site.reader, page), await status(site.anonymous, page)) == (200, 404)
    new = {"spaceId": str(space["id"]), "title": "T"}
    assert (await site.reader.post("/wiki/api/v2/pages", json=new)).status_code == 404
    assert (await site.reader.post(path, json=grant("create", "page"))).status_code == 403
    await site.migrator.post(path, json=grant("create", "page"))
    assert (await site.reader.post("/wiki/api/v2/pages", json=new)).status_code == 200
    await site.migrator.post(path, json=grant("read", "space", "anonymous"))
    assert await status(site.anonymous, page) == 200
    listed = (await site.migrator.get(f"/wiki/api/v2/spaces/{space['id']}/permissions?limit=250")).json()["results"]
    anonymous = [row for row in listed if row["principal"]["id"] == "anonymous"]
    assert (await site.migrator.delete(f"{path}/{anonymous[0]['id']}")).status_code == 204
    assert await status(site.anonymous, page) == 404


async def test_view_restrictions_reach_every_descendant_and_its_comments_and_attachments(site: Site) -> None:
    space = await site.space()
    top = await site.page(space, "Top")
    below = await site.page(space, "Below", parentId=top["id"])
    body = {"representation": "storage", "value": "<p>c</p>"}
    comment = await site.migrator.post("/wiki/api/v2/footer-comments", json={"pageId": below["id"], "body": body})
    attachment = (await site.attach(below["id"], "a", b"1")).json()["results"][0]
    paths = [
        f"/wiki/api/v2/pages/{below['id']}",
        f"/wiki/api/v2/footer-comments/{comment.json()['id']}",
        f"/wiki/api/v2/attachments/{attachment['id']}",
        f"/wiki/rest/api/content/{below['id']}/child/attachment/{attachment['id']}/download",
        f"/wiki/rest/api/content/{below['id']}/label",
    ]
    before = [(await site.reader.get(path)).status_code for path in paths]
    await restrict(site, top, await account_of(site.migrator))
    after = [(await site.reader.get(path)).status_code for path in paths]
    assert before == [200, 200, 200, 302, 200]
    assert after == [404] * 5
    titles = [page["title"] for page in (await site.reader.get("/wiki/api/v2/pages")).json()["results"]]
    assert titles == ["Space ENG"]


async def test_a_restriction_that_shuts_the_caller_out_loses_the_page_for_the_caller(site: Site) -> None:
    page = await site.page(await site.space(), "P")
    assert (await restrict(site, page, await account_of(site.reader))).status_code == 200
    assert (await status(site.migrator, page), await status(site.reader, page)) == (404, 200)


async def test_a_private_page_in_an_open_space_is_seen_by_its_creator_only(site: Site) -> None:
    page = await site.page(await site.space(), "P", params={"private": "true"})
    assert (await status(site.migrator, page), await status(site.reader, page)) == (200, 404)


async def test_update_restrictions_let_others_read_but_not_write(site: Site) -> None:
    page = await site.page(await site.space(), "P")
    users = [{"type": "known", "accountId": await account_of(site.migrator)}]
    await site.migrator.put(
        f"/wiki/rest/api/content/{page['id']}/restriction",
        json=[{"operation": "update", "restrictions": {"user": users}}],
    )
    assert await status(site.reader, page) == 200
    retitled = {"status": "current", "title": "N"}
    assert (await site.reader.put(f"/wiki/api/v2/pages/{page['id']}/title", json=retitled)).status_code == 404
    assert (await site.migrator.put(f"/wiki/api/v2/pages/{page['id']}/title", json=retitled)).status_code == 200


async def test_a_restriction_by_group_follows_its_members(make_site: Any) -> None:
    site = await make_site(groups=[{"name": "team", "members": ["migrator@example.com"]}])
    page = await site.page(await site.space(), "P")
    group = (await site.migrator.get("/wiki/rest/api/group/by-name?name=team")).json()
    await site.migrator.put(
        f"/wiki/rest/api/content/{page['id']}/restriction",
        json=[{"operation": "read", "restrictions": {"group": [{"type": "group", "id": group["id"]}]}}],
    )
    assert await status(site.reader, page) == 404
    joined = await site.migrator.post(
        f"/wiki/rest/api/group/userByGroupId?groupId={group['id']}", json={"accountId": await account_of(site.reader)}
    )
    assert joined.status_code == 201
    assert await status(site.reader, page) == 200


@pytest.mark.parametrize("who", ["nobody", "712020:00000000-0000-0000-0000-000000000000"])
async def test_a_restriction_to_an_unknown_account_is_refused(site: Site, who: str) -> None:
    page = await site.page(await site.space(), "P")
    assert (await restrict(site, page, who)).status_code == 400


async def test_a_roles_site_refuses_classic_permissions_and_takes_role_assignments(make_site: Any) -> None:
    site = await make_site(mode="roles")
    assert (await site.migrator.get("/wiki/api/v2/space-role-mode")).json() == {"mode": "ROLES"}
    space = await site.space(private=True)
    page = await site.page(space, "P")
    reader = await account_of(site.reader)
    classic = await site.migrator.post(
        f"/wiki/rest/api/space/{space['key']}/permission",
        json={"subject": {"type": "user", "identifier": reader}, "operation": {"key": "read", "target": "space"}},
    )
    assert (classic.status_code, "InvalidRbacOperationException" in classic.text) == (400, True)
    roles = {
        role["displayName"]: role["id"]
        for role in (await site.migrator.get("/wiki/api/v2/space-roles")).json()["results"]
    }
    path = f"/wiki/api/v2/spaces/{space['id']}/role-assignments"
    principal = {"principalType": "USER", "principalId": reader}
    assigned = await site.migrator.post(path, json=[{"principal": principal, "roleId": roles["Viewer"]}])
    assert assigned.status_code == 200
    assert await status(site.reader, page) == 200
    assert (await site.migrator.post(path, json=[{"principal": principal}])).status_code == 200
    assert await status(site.reader, page) == 404


async def test_the_directory_of_spaces_lags_while_the_spaces_own_address_answers(make_site: Any) -> None:
    site = await make_site(directory_lag=60)
    space = await site.space()
    assert (await site.migrator.get("/wiki/api/v2/spaces?keys=ENG")).json()["results"] == []
    assert (await site.migrator.get(f"/wiki/api/v2/spaces/{space['id']}")).status_code == 200


async def test_groups_are_made_and_filled_by_administrators_only(site: Site) -> None:
    assert (await site.reader.post("/wiki/rest/api/group", json={"name": "g"})).status_code == 403
    made = await site.migrator.post("/wiki/rest/api/group", json={"name": "g"})
    assert made.status_code == 201
    assert (await site.migrator.post("/wiki/rest/api/group", json={"name": "G"})).status_code == 400
    unknown = await site.migrator.get("/wiki/rest/api/group/no-such-id/membersByGroupId")
    assert unknown.json()["results"] == []
    using = (await site.migrator.get("/wiki/rest/api/group?accessType=user")).json()["results"]
    assert "g" not in {group["name"] for group in using}


async def test_accounts_are_found_by_address_where_jira_is_and_hidden_addresses_stay_hidden(make_site: Any) -> None:
    users = [{"email": "ann@example.com", "name": "Ann Lee"}, {"email": "bob@example.com", "email_visible": False}]
    site = await make_site(users=users)
    found = (await site.migrator.get("/rest/api/3/user/search", params={"query": "ann@example.com"})).json()
    assert [user["emailAddress"] for user in found] == ["ann@example.com"]
    hidden = (await site.migrator.get("/rest/api/3/user/search", params={"query": "bob@"})).json()
    assert len(hidden) == 1
    assert "emailAddress" not in hidden[0]
    bulk = await site.migrator.post("/wiki/api/v2/users-bulk", json={"accountIds": [hidden[0]["accountId"]]})
    assert bulk.json()["results"][0]["email"] == ""
    without = await make_site(jira=False)
    assert (await without.migrator.get("/rest/api/3/user/search?query=x")).status_code == 404


async def test_inviting_gives_access_sends_mail_and_stops_at_the_last_seat(make_site: Any) -> None:
    site = await make_site(seats=3)
    emails = {"emails": ["new@example.com", "late@example.com", "broken"]}
    checked = await site.migrator.post("/wiki/api/v2/user/access/check-access-by-email", json=emails)
    assert checked.json() == {"emailsWithoutAccess": emails["emails"][:2], "invalidEmails": ["broken"]}
    assert (await site.migrator.post("/wiki/api/v2/user/access/invite-by-email", json=emails)).status_code == 200
    again = await site.migrator.post("/wiki/api/v2/user/access/check-access-by-email", json=emails)
    assert again.json()["emailsWithoutAccess"] == ["late@example.com"]
    assert [mail["to"] for mail in (await site.admin.get("/mails")).json()["mails"]] == ["new@example.com"]


async def test_the_organization_invites_without_mail_and_says_what_failed(site: Site) -> None:
    org = httpx.AsyncClient(base_url=site.url, headers={"Authorization": "Bearer sandbox-org-key"}, trust_env=False)
    async with org:
        invite = await org.post(
            "/admin/v2/orgs/sandbox-org/users/invite",
            json={
                "emails": ["new@example.com", "broken"],
                "permissionRules": [{"resource": "ari:cloud:confluence::site/1", "role": "atlassian/user"}],
                "sendNotification": False,
            },
        )
        assert invite.status_code == 206
        path = "/admin/v2/orgs/sandbox-org/directories/sandbox-directory/users"
        found = await org.post(f"{path}/search", json={"emails": ["NEW@example.com"]})
        assert [user["email"] for user in found.json()["data"]] == ["new@example.com"]
        assert (await org.get(path, params={"emails": "new@example.com"})).status_code == 200
    assert (await site.migrator.get(path)).status_code == 401
    assert (await site.admin.get("/mails")).json()["mails"] == []


async def test_watches_of_others_need_an_administrator_and_the_xsrf_header(site: Site) -> None:
    page = await site.page(await site.space(), "P")
    path = f"/wiki/rest/api/user/watch/content/{page['id']}"
    other = {"accountId": await account_of(site.migrator)}
    token = {"X-Atlassian-Token": "no-check"}
    assert (await site.migrator.post(path)).status_code == 403
    assert (await site.reader.post(path, params=other, headers=token)).status_code == 403
    mine = {"accountId": await account_of(site.reader)}
    assert (await site.migrator.post(path, params=mine, headers=token)).status_code == 204
    assert (await site.reader.get(path)).json() == {"watching": True}


async def test_accounts_have_the_same_id_on_every_site(make_site: Any) -> None:
    first, second = await make_site(), await make_site()
    assert await account_of(first.client(READER)) == await account_of(second.client(READER))
