"""Admin keys open what is closed to the administrator, for requests that say so; search lags; what a caller may do."""

from typing import Any

from tests.unit.sandbox_cloud.conftest import Site

KEY = {"Atl-Confluence-With-Admin-Key": "true"}


async def shut_out(site: Site) -> str:
    """A page that only the reader may see."""
    page = await site.page(await site.space("ENG"), "Secret")
    reader = (await site.reader.get("/wiki/rest/api/user/current")).json()["accountId"]
    body = [{"operation": "read", "restrictions": {"user": [{"type": "known", "accountId": reader}], "group": []}}]
    assert (await site.migrator.put(f"/wiki/rest/api/content/{page['id']}/restriction", json=body)).status_code == 200
    return str(page["id"])


async def test_a_restriction_without_the_caller_shuts_the_caller_out_until_an_admin_key_is_taken_and_named(site: Site):
    page = await shut_out(site)
    path = f"/wiki/api/v2/pages/{page}"
    assert (await site.migrator.get(path)).status_code == 404
    assert (await site.migrator.get(path, headers=KEY)).status_code == 404
    assert (await site.migrator.post("/wiki/api/v2/admin-key", json={"durationInMinutes": 10})).status_code == 200
    assert (await site.migrator.get(path)).status_code == 404
    assert (await site.migrator.get(path, headers=KEY)).status_code == 200
    assert (await site.migrator.delete("/wiki/api/v2/admin-key")).status_code == 204
    assert (await site.migrator.get(path, headers=KEY)).status_code == 404


async def test_admin_keys_are_for_administrators_of_premium_sites(site: Site, make_site: Any):
    assert (await site.reader.post("/wiki/api/v2/admin-key")).status_code == 404
    standard = await make_site(plan="standard")
    assert (await standard.migrator.post("/wiki/api/v2/admin-key")).status_code == 404


async def test_search_finds_what_was_written_only_later_and_only_what_may_be_seen(make_site: Any):
    site = await make_site(search_lag=0)
    page = await shut_out(site)
    query = {"params": {"cql": 'space = "ENG" and title = "Secret"'}}
    assert (await site.migrator.get("/wiki/rest/api/content/search", **query)).json()["size"] == 0
    found = (await site.reader.get("/wiki/rest/api/search", **query)).json()
    assert [item["content"]["id"] for item in found["results"]] == [page]
    site.sandbox.fronts[site.name].back.site.search_lag = 60  # type: ignore[attr-defined]
    assert (await site.reader.get("/wiki/rest/api/content/search", **query)).json()["size"] == 0
    wrong = await site.reader.get("/wiki/rest/api/content/search", params={"cql": "created > now()"})
    assert wrong.status_code == 400


async def test_operations_say_what_the_caller_may_do(site: Site):
    space = await site.space("ENG")
    page = await site.page(space, "Start")

    async def may(client: Any, path: str) -> set[tuple[str, str]]:
        found = (await client.get(f"/wiki/api/v2/{path}/operations")).json()["operations"]
        return {(item["operation"], item["targetType"]) for item in found}

    assert ("administer", "space") in await may(site.migrator, f"spaces/{space['id']}")
    assert ("administer", "space") not in await may(site.reader, f"spaces/{space['id']}")
    assert ("delete", "page") not in await may(site.reader, f"pages/{page['id']}")


async def test_a_space_can_be_created_with_its_permissions_on_a_classic_site_only(site: Site, make_site: Any):
    permission = {
        "subjects": {},
        "operation": {"operation": "read", "targetType": "space"},
        "anonymousAccess": True,
        "unlicensedAccess": False,
    }
    await site.space("OPEN", permissions=[permission])
    assert (await site.anonymous.get("/wiki/rest/api/space/OPEN")).status_code == 200
    roles = await make_site(mode="roles")
    reply = await roles.migrator.post(
        "/wiki/rest/api/space", json={"key": "OPEN", "name": "Open", "permissions": [permission]}
    )
    assert (reply.status_code, "InvalidRbacOperationException" in reply.json()["message"]) == (400, True)
