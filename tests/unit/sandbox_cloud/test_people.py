"""Accounts, groups, seats and mails of a site: what an account costs, who gets a mail, who may change a group."""

from typing import Any

from tests.unit.sandbox_cloud.conftest import Site

ORG = "/admin/v2/orgs/sandbox-org"
DIRECTORY = f"{ORG}/directories/sandbox-directory"
SCIM = "/scim/directory/sandbox-directory"


def org(site: Site) -> Any:
    client = site.client(None)
    client.headers["Authorization"] = "Bearer sandbox-org-key"
    return client


def scim(site: Site) -> Any:
    client = site.client(None)
    client.headers["Authorization"] = "Bearer sandbox-scim-key"
    return client


async def mails(site: Site) -> list[tuple[str, str]]:
    return [(mail["to"], mail["kind"]) for mail in (await site.admin.get("/mails")).json()["mails"]]


async def test_an_account_without_products_costs_no_seat_and_mails_only_who_has_no_atlassian_account(make_site: Any):
    site = await make_site(seats={"confluence": 2, "jira": 1}, atlassian_accounts=["known@example.com"])
    for email in ("known@example.com", "new@example.com"):
        reply = await site.migrator.post("/rest/api/3/user", json={"emailAddress": email, "products": []})
        assert reply.status_code == 201, reply.text
    assert await mails(site) == [("new@example.com", "account")]
    full = await site.migrator.post(
        "/rest/api/3/user", json={"emailAddress": "c@example.com", "products": ["jira-core"]}
    )
    assert (full.status_code, full.json()["errorMessages"]) == (400, ["Your license does not allow more users."])


async def test_an_invitation_without_notification_sends_no_mail_and_is_refused_where_no_seat_is_left(make_site: Any):
    site = await make_site(seats={"confluence": 3})
    body = {
        "emails": ["a@example.com"],
        "permissionRules": [{"resource": "ari:cloud:confluence::site/x", "role": "basic"}],
        "sendNotification": False,
    }
    assert (await org(site).post(f"{ORG}/users/invite", json=body)).status_code == 200
    assert await mails(site) == []
    for more in ({"sendNotification": True}, {"notificationText": "Welcome"}):
        assert (await org(site).post(f"{ORG}/users/invite", json=body | more)).status_code == 200
        assert await mails(site) == [], "a mail takes both"
    full = await org(site).post(f"{ORG}/users/invite", json=body | {"emails": ["b@example.com"]})
    assert full.status_code == 409
    partly = await org(site).post(f"{ORG}/users/invite", json=body | {"emails": ["a@example.com", "b@example.com"]})
    assert (partly.status_code, [item["email"] for item in partly.json()["errors"]]) == (206, ["b@example.com"])
    without = await org(site).post(f"{ORG}/users/invite", json={"emails": ["b@example.com"], "sendNotification": False})
    assert without.status_code == 200
    asked = await site.migrator.post(
        "/wiki/api/v2/user/access/check-access-by-email", json={"emails": ["a@example.com", "b@example.com"]}
    )
    assert asked.json()["emailsWithoutAccess"] == ["b@example.com"]


async def test_joining_a_group_costs_a_seat_of_every_product_that_the_group_gives(make_site: Any):
    site = await make_site(
        seats={"confluence": 10, "jira": 2},
        groups=[{"name": "developers", "access": ["jira"]}],
        users=[{"email": "a@example.com", "access": []}, {"email": "b@example.com", "access": []}],
    )
    group = (await site.migrator.get("/wiki/rest/api/group/by-name", params={"name": "developers"})).json()["id"]
    found = {user["email"]: user["accountId"] for user in (await org(site).get(f"{DIRECTORY}/users")).json()["data"]}
    join = {"params": {"groupId": group}}
    first = await site.migrator.post(
        "/wiki/rest/api/group/userByGroupId", json={"accountId": found["a@example.com"]}, **join
    )
    second = await site.migrator.post(
        "/wiki/rest/api/group/userByGroupId", json={"accountId": found["b@example.com"]}, **join
    )
    assert (first.status_code, second.status_code) == (201, 400)
    role = (await site.migrator.get("/rest/api/3/applicationrole")).json()[0]
    assert (role["numberOfSeats"], role["remainingSeats"], role["groups"][0]) == (2, 0, "developers")


async def test_seats_taken_and_their_limit_are_told_for_each_product_of_the_organization(make_site: Any):
    site = await make_site(seats={"confluence": 5})
    found = (await org(site).post(f"{ORG}/workspaces", json={"limit": 20})).json()["data"]
    told = {
        item["attributes"]["typeKey"]: (item["attributes"]["usage"], item["attributes"]["capacity"]) for item in found
    }
    assert told == {"confluence": (2, 5), "jira-software": (1, None)}


async def test_groups_that_give_confluence_are_told_from_others_of_the_one_directory(make_site: Any):
    site = await make_site(groups=[{"name": "writers", "access": ["confluence"]}, {"name": "devs", "access": ["jira"]}])
    listed = (await site.migrator.get("/wiki/rest/api/group", params={"accessType": "user"})).json()["results"]
    assert [group["name"] for group in listed] == [f"confluence-users-{site.name}", "site-admins", "writers"]
    everyone = (await site.migrator.get("/rest/api/3/group/bulk")).json()["values"]
    assert {"devs", "writers"} <= {group["name"] for group in everyone}


async def test_whether_the_account_is_a_site_admin_can_be_asked(site: Site):
    for client, verbs in ((site.migrator, ["use", "administer"]), (site.reader, ["use"])):
        me = (await client.get("/wiki/rest/api/user/current", params={"expand": "operations"})).json()
        assert [item["operation"] for item in me["operations"]] == verbs
    asked = {"params": {"permissions": "ADMINISTER"}}
    mine = (await site.migrator.get("/rest/api/3/mypermissions", **asked)).json()["permissions"]["ADMINISTER"]
    assert mine["havePermission"] is True


async def test_a_site_without_jira_has_no_jira_addresses(make_site: Any):
    site = await make_site(jira=False)
    reply = await site.migrator.get("/rest/api/3/user/search", params={"query": "a"})
    assert reply.status_code == 404


async def test_a_directory_owns_the_accounts_of_verified_domains_and_its_groups(make_site: Any):
    site = await make_site(domains=["example.com"])
    client = scim(site)
    body = {
        "userName": "ann@example.com",
        "emails": [{"value": "ann@example.com"}],
        "displayName": "Ann",
        "active": True,
    }
    made = await client.post(f"{SCIM}/Users", json=body)
    assert made.status_code == 201, made.text
    account = made.json()["urn:scim:schemas:extension:atlassian-external:1.0"]["atlassianAccountId"]
    assert (await client.post(f"{SCIM}/Users", json=body)).status_code == 409
    elsewhere = body | {"userName": "x@other.org", "emails": [{"value": "x@other.org"}]}
    assert (await client.post(f"{SCIM}/Users", json=elsewhere)).status_code == 400
    group = {"displayName": "owned", "members": [{"value": made.json()["id"]}]}
    owned = (await client.post(f"{SCIM}/Groups", json=group)).json()
    assert [member["value"] for member in owned["members"]] == [made.json()["id"]]
    reader = (await site.reader.get("/wiki/rest/api/user/current")).json()["accountId"]
    refused = await site.migrator.post(
        "/wiki/rest/api/group/userByGroupId", params={"groupId": owned["id"]}, json={"accountId": reader}
    )
    assert refused.status_code == 403
    listed = (await site.migrator.get("/wiki/rest/api/group/by-id", params={"id": owned["id"]})).json()
    assert listed["managedBy"] == "EXTERNAL"
    found = await site.migrator.get("/rest/api/3/user", params={"accountId": account})
    assert found.json()["displayName"] == "Ann"


async def test_a_site_without_verified_domain_has_no_scim_directory(site: Site):
    assert (await scim(site).get(f"{SCIM}/Users")).status_code == 404


async def test_without_their_keys_organization_and_directory_answer_nothing(make_site: Any):
    site = await make_site(domains=["example.com"])
    assert (await site.migrator.get(f"{DIRECTORY}/users")).status_code == 401
    assert (await site.migrator.get(f"{SCIM}/Users")).status_code == 401
