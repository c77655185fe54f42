"""The client against the sandbox's Cloud, which was written apart from it: two readings of the same documents agree."""

import hashlib
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from itertools import count
from typing import Any

import httpx
import pytest
import stamina

from sandbox.app import Instance, Sandbox
from shared.confluence.cloud import CloudSite, RoleAssignment
from shared.confluence.site import (
    KeyTaken,
    NameTaken,
    NotOnSite,
    OutcomeUnknown,
    SiteForbids,
    SiteRefused,
    SiteSpace,
    SiteUnauthorized,
    Throttled,
    TitleTaken,
    TooLarge,
    VersionConflict,
)

_keys = count(1)
OPTIONS = {
    "users": [
        {"email": "ann@example.com", "name": "Ann"},
        {"email": "hidden@example.com", "name": "Hidden", "email_visible": False},
        {"email": "ann@example.com.au", "name": "Other Ann"},
    ],
    "groups": ["writers"],
    "spaces": ["ENG", {"key": "SECRET", "visible": False}, {"key": "GONE", "trashed": True}],
}


@pytest.fixture(scope="module")
async def sandbox() -> AsyncIterator[Sandbox]:
    instances = [
        Instance("acme", "cloud", 0, OPTIONS),
        Instance("roles", "cloud", 0, {"mode": "roles"}),
        Instance("slow", "cloud", 0, {"directory_lag": 60}),
    ]
    async with Sandbox(instances) as running:
        yield running


@pytest.fixture
async def site(sandbox: Sandbox) -> AsyncIterator[CloudSite]:
    async with CloudSite(sandbox.url("acme"), email="migrator@example.com", token="sandbox-token") as client:
        yield client


@pytest.fixture
async def space(site: CloudSite) -> SiteSpace:
    return await site.create_private_space(f"SP{next(_keys)}", "A space", "marker 1234")


async def fault(sandbox: Sandbox, **rule: Any) -> None:
    async with httpx.AsyncClient(trust_env=False) as client:
        reply = await client.post(f"{sandbox.admin_url}/sites/acme/faults", json=rule)
        assert reply.status_code == 201, reply.text


async def test_the_caller_is_known_or_unauthorized(site: CloudSite, sandbox: Sandbox) -> None:
    me = await site.whoami()
    assert me.account_id and me.email == "migrator@example.com"
    async with CloudSite(sandbox.url("acme"), email="migrator@example.com", token="wrong") as wrong:
        with pytest.raises(SiteUnauthorized):
            await wrong.whoami()


async def test_the_role_mode_is_told(site: CloudSite, sandbox: Sandbox) -> None:
    assert await site.role_mode() == "classic"
    async with CloudSite(sandbox.url("roles"), email="migrator@example.com", token="sandbox-token") as roles:
        assert await roles.role_mode() == "roles"


async def test_a_private_space_is_made_found_changed_and_deleted(site: CloudSite, sandbox: Sandbox) -> None:
    me = await site.whoami()
    made = await site.create_private_space("Priv", "Private", "marker 77")
    assert made.homepage_id and made.creator == me.account_id and made.created_at
    assert made.description == "marker 77"
    async with CloudSite(sandbox.url("acme"), email="reader@example.com", token="reader-token") as reader:
        assert await reader.find_space("Priv") is None
    for key in ("Priv", "PRIV", "priv"):
        assert await site.find_space(key) == made
    await site.update_space("Priv", "Renamed", "About <it> & more")
    changed = await site.find_space("priv")
    assert changed is not None and (changed.name, changed.description) == ("Renamed", "About <it> & more")
    task = await site.delete_space("Priv")
    assert task is not None and await site.long_task_finished(task)
    assert await site.find_space("Priv") is None


@pytest.mark.parametrize("key", ["ENG", "eng", "SECRET", "GONE"])
async def test_a_key_of_a_visible_hidden_or_trashed_space_is_taken(site: CloudSite, key: str) -> None:
    with pytest.raises(KeyTaken):
        await site.create_private_space(key, "x", "")


async def test_a_space_is_found_before_the_lists_know_it(sandbox: Sandbox) -> None:
    async with CloudSite(sandbox.url("slow"), email="migrator@example.com", token="sandbox-token") as slow:
        made = await slow.create_private_space("NEW", "New", "marker")
        assert await slow.find_space("new") == made


async def test_pages_are_made_updated_moved_and_listed_in_order(site: CloudSite, space: SiteSpace) -> None:
    home = space.homepage_id
    assert home is not None
    parent = await site.create_page(space.id, "Parent & sons", "<p>1</p>")
    assert parent.parent == home
    assert parent.version == 1
    beside = await site.create_page(space.id, "Beside", "", root_level=True)
    assert {page.id for page in await site.root_pages(space.id)} >= {home, beside.id}
    children = [await site.create_page(space.id, f"C{n}", "<p/>", parent_id=parent.id) for n in range(3)]
    assert [page.id async for page in site.children(parent.id)] == [page.id for page in children]
    await site.move_page(children[2].id, "before", children[0].id)
    await site.move_page(children[0].id, "append", beside.id)
    assert [page.title async for page in site.children(parent.id)] == ["C2", "C1"]
    assert [page.title async for page in site.children(beside.id)] == ["C0"]
    updated = await site.update_page(
        parent.id, title="Parent", body="<p>&nbsp;2</p>", version=1, message="second", owner_id=parent.author
    )
    assert (updated.version, updated.title) == (2, "Parent")
    read = await site.content("page", parent.id, body=True)
    assert (read.body, read.version) == ("<p>&nbsp;2</p>", 2)
    assert [page.id for page in await site.find_content("page", space.id, "Parent")] == [parent.id]
    assert await site.find_content("page", space.id, "Parent & sons") == []
    everything = {page.id: page async for page in site.contents("page", space.id, body=True)}
    assert set(everything) == {home, parent.id, beside.id, *(page.id for page in children)}
    assert everything[parent.id].body == "<p>&nbsp;2</p>"


async def test_pages_refuse_what_the_site_refuses(site: CloudSite, space: SiteSpace) -> None:
    page = await site.create_page(space.id, "T", "")
    with pytest.raises(TitleTaken):
        await site.create_page(space.id, "t", "")
    with pytest.raises(VersionConflict):
        await site.update_page(page.id, title="T", body="", version=7)
    with pytest.raises(TooLarge):
        await site.create_page(space.id, "Large", "x" * 5_300_000)
    with pytest.raises(SiteRefused):
        await site.create_page(space.id, "Broken", "<p><b></p>")
    await site.delete_content("page", page.id)
    with pytest.raises(NotOnSite):
        await site.content("page", page.id)
    await site.delete_content("page", page.id, purge=True)
    with pytest.raises(NotOnSite):
        await site.update_page(page.id, title="T", body="", version=1)


async def test_a_private_page_is_seen_by_its_creator_only(site: CloudSite, sandbox: Sandbox) -> None:
    space = await site.find_space("ENG")
    assert space is not None
    page = await site.create_page(space.id, "Hidden", "", private=True)
    async with CloudSite(sandbox.url("acme"), email="reader@example.com", token="reader-token") as reader:
        with pytest.raises(NotOnSite):
            await reader.content("page", page.id)
    me = await site.whoami()
    restrictions = await site.restrictions(page.id)
    assert restrictions["read"] == ([me.account_id], [])


async def test_a_blog_post_keeps_its_posting_time(site: CloudSite, space: SiteSpace) -> None:
    when = datetime(2012, 1, 30, 12, 0, 5, 123000, tzinfo=UTC)
    post = await site.create_blogpost(space.id, "News", "<p>n</p>", created_at=when)
    assert post.created_at == when
    updated = await site.update_blogpost(post.id, title="News", body="<p>m</p>", version=1)
    assert updated.version == 2
    assert [found.id async for found in site.contents("blogpost", space.id)] == [post.id]
    assert [found.id for found in await site.find_content("blogpost", space.id, "News")] == [post.id]


async def test_comments_and_replies_are_made_and_read_with_bodies(site: CloudSite, space: SiteSpace) -> None:
    page = await site.create_page(space.id, "Talk", "")
    first = await site.create_footer_comment(page_id=page.id, body="<p>first</p>")
    reply = await site.create_footer_comment(parent_id=first.id, body="<p>reply</p>")
    second = await site.create_footer_comment(page_id=page.id, body="<p>second</p>")
    assert (first.container, reply.parent) == (page.id, first.id)
    top = [comment async for comment in site.footer_comments("page", page.id)]
    assert [(comment.id, comment.body) for comment in top] == [(first.id, "<p>first</p>"), (second.id, "<p>second</p>")]
    replies = [comment async for comment in site.comment_replies(first.id)]
    assert [(comment.id, comment.body, comment.parent) for comment in replies] == [(reply.id, "<p>reply</p>", first.id)]
    post = await site.create_blogpost(space.id, "Post", "", created_at=None)
    on_post = await site.create_footer_comment(blogpost_id=post.id, body="<p>p</p>")
    assert [comment.id async for comment in site.footer_comments("blogpost", post.id)] == [on_post.id]
    await site.delete_content("comment", second.id)
    assert [comment.id async for comment in site.footer_comments("page", page.id)] == [first.id]


async def chunks(data: bytes, size: int = 1 << 16) -> AsyncIterator[bytes]:
    for at in range(0, len(data), size):
        yield data[at : at + size]


async def test_files_are_stored_versioned_and_read_back(site: CloudSite, space: SiteSpace) -> None:
    page = await site.create_page(space.id, "Files", "")
    data = bytes(range(256)) * 4000
    name = 'Zeug "1" + ä.bin'
    made = await site.create_attachment(
        page.id, name, "application/octet-stream", chunks(data), len(data), comment="as it was"
    )
    assert (made.filename, made.size, made.version, made.container) == (name, len(data), 1, page.id)
    with pytest.raises(NameTaken):
        await site.create_attachment(page.id, name, "text/plain", chunks(b"x"), 1)
    again = await site.add_attachment_version(page.id, made.id, name, "text/plain", chunks(b"new"), size=3)
    assert (again.id, again.version, again.size) == (made.id, 2, 3)
    (listed,) = [attachment async for attachment in site.attachments("page", page.id)]
    assert (listed.id, listed.filename, listed.size, listed.version) == (made.id, name, 3, 2)
    old = hashlib.sha256()
    async for chunk in site.download_attachment(page.id, made.id, version=1):
        old.update(chunk)
    assert old.digest() == hashlib.sha256(data).digest()
    assert b"".join([chunk async for chunk in site.download_attachment(page.id, made.id)]) == b"new"
    comment = await site.create_footer_comment(attachment_id=made.id, body="<p>on a file</p>")
    assert [found.id async for found in site.footer_comments("attachment", made.id)] == [comment.id]
    unsized = await site.create_attachment(page.id, "unsized", "text/plain", chunks(b"abc"), None)
    assert unsized.size == 3
    await site.delete_content("attachment", unsized.id)
    empty = await site.create_attachment(page.id, "empty", "text/plain", chunks(b""), 0)
    assert empty.size == 0


async def test_labels_properties_and_restrictions_are_set_and_read(site: CloudSite, space: SiteSpace) -> None:
    page = await site.create_page(space.id, "Decorated", "")
    await site.add_labels(page.id, ["b", "a"])
    await site.add_labels(page.id, ["a"])
    assert sorted(await site.labels("page", page.id)) == ["a", "b"]
    with pytest.raises(SiteRefused):
        await site.add_labels(page.id, ["not a label!"])
    await site.set_property("page", page.id, "source", {"id": 1})
    await site.set_property("page", page.id, "source", {"id": 2})
    me = await site.whoami()
    group = await site.find_group("writers")
    assert group is not None
    await site.set_restrictions(page.id, {"read": ([me.account_id], [group.id]), "update": ([me.account_id], [])})
    assert await site.restrictions(page.id) == {
        "read": ([me.account_id], [group.id]),
        "update": ([me.account_id], []),
    }
    await site.set_restrictions(page.id, {"update": ([me.account_id], [])})
    assert await site.restrictions(page.id) == {"update": ([me.account_id], [])}
    await site.set_restrictions(page.id, {})
    assert await site.restrictions(page.id) == {}


async def test_space_permissions_are_granted_once_and_listed(
    site: CloudSite, space: SiteSpace, sandbox: Sandbox
) -> None:
    group = await site.find_group("writers")
    assert group is not None
    with pytest.raises(SiteRefused):
        await site.add_space_permission(space.key, "group", group.id, "create", "page")
    await site.add_space_permission(space.key, "group", group.id, "read", "space")
    await site.add_space_permission(space.key, "group", group.id, "read", "space")
    await site.add_space_permission(space.key, "group", group.id, "create", "page")
    granted = {
        (permission.operation, permission.target)
        async for permission in site.space_permissions(space.id)
        if permission.principal == group.id
    }
    assert granted == {("read", "space"), ("create", "page")}
    async with CloudSite(sandbox.url("acme"), email="reader@example.com", token="reader-token") as reader:
        with pytest.raises((SiteForbids, NotOnSite)):
            await reader.add_space_permission(space.key, "group", group.id, "read", "space")


async def test_accounts_and_groups_are_found_made_and_joined(site: CloudSite) -> None:
    ann = await site.find_account("Ann@Example.com")
    assert ann is not None and ann.display_name == "Ann"
    assert await site.find_account("hidden@example.com") is None
    assert await site.find_account("nobody@example.com") is None
    new = await site.create_account("new@example.com")
    assert new.account_id
    group = await site.create_group("Readers & friends")
    assert await site.find_group("Readers & friends") == group
    assert await site.find_group("no such group") is None
    with pytest.raises(NameTaken):
        await site.create_group("Readers & friends")
    await site.add_to_group(group.id, ann.account_id)
    await site.add_to_group(group.id, ann.account_id)
    assert [member.account_id async for member in site.group_members(group.id)] == [ann.account_id]
    assert group in [found async for found in site.group_list()]
    access = await site.access_groups()
    assert access and group not in access


async def test_the_organization_finds_hidden_addresses_and_invites_without_mail(sandbox: Sandbox) -> None:
    url = sandbox.url("acme")
    async with CloudSite(
        url,
        email="migrator@example.com",
        token="sandbox-token",
        org_id="sandbox-org",
        org_key="sandbox-org-key",
        directory_id="sandbox-directory",
        org_url=url,
    ) as site:
        hidden = await site.find_account("hidden@example.com")
        assert hidden is not None and hidden.display_name == "Hidden"
        assert await site.find_account("nobody@example.com") is None
        await site.invite(["nobody@example.com"], resource="ari:cloud:confluence::site/1", role="basic")
        invited = await site.find_account("nobody@example.com")
        assert invited is not None
    async with httpx.AsyncClient(trust_env=False) as client:
        mails = (await client.get(f"{sandbox.admin_url}/sites/acme/mails")).json()["mails"]
        assert "nobody@example.com" not in [mail["to"] for mail in mails]


async def test_a_site_with_roles_refuses_single_permissions_and_takes_roles(sandbox: Sandbox) -> None:
    async with CloudSite(sandbox.url("roles"), email="migrator@example.com", token="sandbox-token") as site:
        space = await site.create_private_space("ROLES", "Roles", "")
        group = await site.create_group("role group")
        with pytest.raises(SiteRefused):
            await site.add_space_permission(space.key, "group", group.id, "read", "space")
        roles = [role async for role in site.space_roles(space.id)]
        viewer = RoleAssignment("GROUP", group.id, roles[-1].id)
        await site.assign_roles(space.id, [viewer])
        assert viewer in [given async for given in site.role_assignments(space.id)]
        await site.assign_roles(space.id, [RoleAssignment("GROUP", group.id, None)])
        assert viewer not in [given async for given in site.role_assignments(space.id)]


async def test_an_answer_that_is_lost_leaves_the_outcome_unknown_and_the_page_there(
    site: CloudSite, space: SiteSpace, sandbox: Sandbox
) -> None:
    await fault(sandbox, method="POST", route="/wiki/api/v2/pages", action="close", when="after")
    with pytest.raises(OutcomeUnknown):
        await site.create_page(space.id, "Lost", "")
    assert len(await site.find_content("page", space.id, "Lost")) == 1


async def test_an_answer_cut_in_the_middle_leaves_the_outcome_unknown(
    site: CloudSite, space: SiteSpace, sandbox: Sandbox
) -> None:
    await fault(sandbox, method="POST", route="/wiki/api/v2/pages", action="close", when="mid-body")
    with pytest.raises(OutcomeUnknown):
        await site.create_page(space.id, "Half", "")


async def test_throttled_writes_are_told_and_throttled_reads_repeated(
    site: CloudSite, space: SiteSpace, sandbox: Sandbox
) -> None:
    stamina.set_testing(True, attempts=3)
    try:
        await fault(sandbox, method="POST", route="/wiki/api/v2/pages", action="status", status=429, retry_after=2)
        with pytest.raises(Throttled) as raised:
            await site.create_page(space.id, "Slow", "")
        assert raised.value.retry_after == 2.0
        await fault(sandbox, method="GET", route="/wiki/api/v2/pages", action="status", status=429, retry_after=1)
        assert await site.find_content("page", space.id, "Slow") == []
    finally:
        stamina.set_testing(False)
