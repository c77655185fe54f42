"""What the Cloud side takes and refuses when a migration writes."""

from typing import Any

import pytest

from tests.unit.sandbox_cloud.conftest import Site


async def test_a_page_without_a_parent_lands_below_the_homepage_and_root_level_puts_it_beside(site: Site) -> None:
    space = await site.space()
    below = await site.page(space, "Below")
    beside = await site.page(space, "Beside", params={"root-level": "true"})
    assert below["parentId"] == space["homepage"]["id"]
    assert beside["parentId"] is None


async def test_the_stored_body_comes_back_verbatim(site: Site) -> None:
    body = '<p>a&nbsp;b &amp; <ac:link><ri:page ri:content-title="ü"/></ac:link><![CDATA[ &foo; <x> ]]></p>\n'
    page = await site.page(await site.space(), "Body", body)
    reply = await site.migrator.get(f"/wiki/api/v2/pages/{page['id']}", params={"body-format": "storage"})
    assert reply.json()["body"]["storage"] == {"representation": "storage", "value": body}


@pytest.mark.parametrize("body", ["<p>a", "<p>&unknown;</p>", "</r><r>", "<x:y>1</x:y>", "<p>\x01</p>", "a < b"])
async def test_a_body_that_is_no_xml_is_refused(site: Site, body: str) -> None:
    space = await site.space()
    reply = await site.migrator.post(
        "/wiki/api/v2/pages",
        json={"spaceId": str(space["id"]), "title": "T", "body": {"representation": "storage", "value": body}},
    )
    assert reply.status_code == 400
    assert "Error parsing xhtml" in reply.json()["errors"][0]["title"]


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"unknown": 1}, 400),
        ({"spaceId": None}, 400),
        ({"spaceId": "abc"}, 400),
        ({"spaceId": "999"}, 404),
        ({"status": "archived"}, 400),
        ({"title": ""}, 400),
        ({"title": "x" * 256}, 400),
        ({"parentId": "999"}, 404),
        ({"body": {"representation": "view", "value": ""}}, 400),
        ({"body": {"representation": "storage", "value": 1}}, 400),
        ({"authorId": "712020:someone"}, 400),
    ],
)
async def test_a_page_with_a_field_that_v2_does_not_know_or_allow_is_refused(
    site: Site, change: dict[str, Any], status: int
) -> None:
    space = await site.space()
    document = {"spaceId": str(space["id"]), "title": "T", "body": {"representation": "storage", "value": ""}} | change
    reply = await site.migrator.post("/wiki/api/v2/pages", json=document)
    assert reply.status_code == status, reply.text
    assert set(reply.json()["errors"][0]) == {"status", "code", "title", "detail"}


async def test_a_title_is_taken_in_any_case_by_live_draft_and_archived_pages_but_not_by_trashed_ones(
    site: Site,
) -> None:
    space = await site.space()
    first = await site.page(space, "Title")
    await site.page(space, "Draft", status="draft")
    archived = await site.page(space, "Archived")
    reply = await site.migrator.post("/wiki/rest/api/content/archive", json={"pages": [{"id": archived["id"]}]})
    assert reply.status_code == 202
    for title in ("tItLe", "Draft", "archived"):
        refused = await site.migrator.post("/wiki/api/v2/pages", json={"spaceId": str(space["id"]), "title": title})
        assert refused.status_code == 400
        assert "already exists" in refused.text
    assert (await site.migrator.delete(f"/wiki/api/v2/pages/{first['id']}")).status_code == 204
    await site.page(space, "Title")


async def test_an_update_needs_the_next_version_and_409_says_which_is_there(site: Site) -> None:
    page = await site.page(await site.space(), "V")
    update = {
        "id": page["id"],
        "status": "current",
        "title": "V2",
        "body": {"representation": "storage", "value": "<p>2</p>"},
        "version": {"number": 1},
    }
    conflict = await site.migrator.put(f"/wiki/api/v2/pages/{page['id']}", json=update)
    assert conflict.status_code == 409
    assert "Current Version: [1]" in conflict.text
    done = await site.migrator.put(f"/wiki/api/v2/pages/{page['id']}", json=update | {"version": {"number": 2}})
    assert done.json()["version"]["number"] == 2
    old = await site.migrator.get(f"/wiki/api/v2/pages/{page['id']}", params={"version": 1, "body-format": "storage"})
    assert (old.json()["title"], old.json()["body"]["storage"]["value"]) == ("V", "<p>x</p>")


async def test_a_space_key_is_taken_in_any_case_also_by_trashed_and_invisible_spaces(make_site: Any) -> None:
    site = await make_site(spaces=["ENG", {"key": "GONE", "trashed": True}, {"key": "SECRET", "visible": False}])
    for key in ("eng", "Gone", "SECRET"):
        reply = await site.migrator.post("/wiki/rest/api/space", json={"key": key, "name": "N"})
        assert reply.status_code == 400
        assert f"A space already exists with key {key}" in reply.json()["message"]
    listed = (await site.migrator.get("/wiki/api/v2/spaces")).json()["results"]
    assert [space["key"] for space in listed] == ["ENG"]


@pytest.mark.parametrize("key", ["", "A-B", "A B", "é", "x" * 256, 7])
async def test_a_space_key_has_letters_and_digits_only(site: Site, key: object) -> None:
    reply = await site.migrator.post("/wiki/rest/api/space", json={"key": key, "name": "N"})
    assert reply.status_code == 400


async def test_bodies_over_5_mb_are_refused_with_413(site: Site) -> None:
    space = await site.space()
    body = {"representation": "storage", "value": "x" * 5_300_000}
    document = {"spaceId": str(space["id"]), "title": "T", "body": body}
    reply = await site.migrator.post("/wiki/api/v2/pages", json=document)
    assert reply.status_code == 413
    assert "at most 5242880 bytes" in reply.text


async def test_addresses_over_8_kb_and_gets_with_a_body_are_refused(site: Site) -> None:
    assert (await site.migrator.get("/wiki/api/v2/pages", params={"title": "x" * 8200})).status_code == 414
    assert (await site.migrator.request("GET", "/wiki/api/v2/pages", json={})).status_code == 403


async def test_new_children_come_last_and_moves_order_them(site: Site) -> None:
    space = await site.space()
    home = space["homepage"]["id"]
    pages = {name: (await site.page(space, name))["id"] for name in "abcd"}

    async def order() -> str:
        reply = await site.migrator.get(f"/wiki/api/v2/pages/{home}/children", params={"limit": 3})
        following = await site.migrator.get(reply.json()["_links"]["next"])
        return "".join(page["title"] for page in reply.json()["results"] + following.json()["results"])

    assert await order() == "abcd"
    for page, position, target, expected in [("d", "before", "a", "dabc"), ("d", "after", "b", "abdc")]:
        await site.migrator.put(f"/wiki/rest/api/content/{pages[page]}/move/{position}/{pages[target]}")
        assert await order() == expected
    reply = await site.migrator.put(f"/wiki/rest/api/content/{home}/move/append/{pages['a']}")
    assert reply.status_code == 400


async def test_lists_are_paged_by_a_next_link_relative_to_the_host_and_by_a_link_header(site: Site) -> None:
    space = await site.space()
    for number in range(7):
        await site.page(space, f"P{number}")
    path: str | None = f"/wiki/api/v2/spaces/{space['id']}/pages?limit=3&sort=id"
    titles: list[str] = []
    while path:
        reply = await site.migrator.get(path)
        titles += [page["title"] for page in reply.json()["results"]]
        path = reply.json()["_links"].get("next")
        assert (path is None) == ("link" not in reply.headers)
        assert path is None or path.startswith("/wiki/api/v2/")
    assert titles == ["Space ENG"] + [f"P{number}" for number in range(7)]
    assert (await site.migrator.get("/wiki/api/v2/pages?limit=251")).status_code == 400
    assert (await site.migrator.get("/wiki/api/v2/pages?cursor=nonsense")).status_code == 400
    assert (await site.migrator.get("/wiki/api/v2/pages?start=0")).status_code == 400


async def test_a_page_is_found_by_space_and_title(site: Site) -> None:
    space = await site.space()
    page = await site.page(space, "Übersicht & Plan")
    reply = await site.migrator.get("/wiki/api/v2/pages", params={"space-id": space["id"], "title": "Übersicht & Plan"})
    assert [found["id"] for found in reply.json()["results"]] == [page["id"]]


async def test_a_blog_post_keeps_the_day_it_was_given(site: Site) -> None:
    space = await site.space()
    document = {"spaceId": str(space["id"]), "title": "News", "createdAt": "2012-01-30T10:00:00.000+0100"}
    reply = await site.migrator.post("/wiki/api/v2/blogposts", json=document)
    assert reply.json()["createdAt"] == "2012-01-30T09:00:00.000Z"
    assert (await site.migrator.post("/wiki/api/v2/blogposts", json=document)).status_code == 400
    other_day = document | {"createdAt": "2012-01-31T10:00:00.000Z"}
    assert (await site.migrator.post("/wiki/api/v2/blogposts", json=other_day)).status_code == 200


async def test_comments_keep_their_order_and_a_second_target_is_refused(site: Site) -> None:
    page = await site.page(await site.space(), "P")
    body = {"representation": "storage", "value": "<p>c</p>"}
    first = await site.migrator.post("/wiki/api/v2/footer-comments", json={"pageId": page["id"], "body": body})
    assert first.status_code == 201
    reply_to = {"parentCommentId": first.json()["id"], "body": body}
    reply = await site.migrator.post("/wiki/api/v2/footer-comments", json=reply_to)
    both = await site.migrator.post("/wiki/api/v2/footer-comments", json=reply_to | {"pageId": page["id"]})
    assert both.status_code == 400
    top = await site.migrator.get(f"/wiki/api/v2/pages/{page['id']}/footer-comments")
    below = await site.migrator.get(f"/wiki/api/v2/footer-comments/{first.json()['id']}/children")
    assert [item["id"] for item in top.json()["results"]] == [first.json()["id"]]
    assert [item["id"] for item in below.json()["results"]] == [reply.json()["id"]]


async def test_an_inline_comment_needs_text_that_occurs_on_the_rendered_page(site: Site) -> None:
    page = await site.page(await site.space(), "P", "<p>the <strong>red</strong> fox, the\n red hat</p>")

    async def comment(selection: str, count: int, index: int) -> int:
        reply = await site.migrator.post(
            "/wiki/api/v2/inline-comments",
            json={
                "pageId": page["id"],
                "body": {"representation": "storage", "value": "<p>?</p>"},
                "inlineCommentProperties": {
                    "textSelection": selection,
                    "textSelectionMatchCount": count,
                    "textSelectionMatchIndex": index,
                },
            },
        )
        return reply.status_code

    assert await comment("the red", 2, 1) == 201
    assert await comment("the red", 1, 0) == 400
    assert await comment("the red", 2, 2) == 400
    assert await comment("blue", 1, 0) == 400


async def test_attachments_need_the_xsrf_header_and_keep_one_id_over_versions(site: Site) -> None:
    page = await site.page(await site.space(), "P")
    bare = await site.migrator.put(
        f"/wiki/rest/api/content/{page['id']}/child/attachment", files={"file": ("a.txt", b"1")}
    )
    assert bare.status_code == 403
    first = await site.attach(page["id"], "ü a.txt", b"one", "POST")
    again = await site.attach(page["id"], "ü a.txt", b"one", "POST")
    assert again.status_code == 400
    second = await site.attach(page["id"], "ü a.txt", b"second")
    assert first.json()["results"][0]["id"] == second.json()["results"][0]["id"]
    listed = (await site.migrator.get(f"/wiki/api/v2/pages/{page['id']}/attachments")).json()["results"]
    assert [(item["title"], item["fileSize"], item["version"]["number"]) for item in listed] == [("ü a.txt", 6, 2)]


async def test_a_download_is_a_redirect_to_another_origin_that_refuses_credentials(site: Site) -> None:
    page = await site.page(await site.space(), "P")
    attachment = (await site.attach(page["id"], "a.bin", b"\x00\x01data")).json()["results"][0]
    path = f"/wiki/rest/api/content/{page['id']}/child/attachment/{attachment['id']}/download"
    redirect = await site.migrator.get(path)
    location = redirect.headers["location"]
    assert redirect.status_code == 302
    assert not location.startswith(site.url)
    assert (await site.anonymous.get(location)).content == b"\x00\x01data"
    assert (await site.migrator.get(location)).status_code == 400
    assert (await site.anonymous.get(location[:-1])).status_code == 403
    followed = await site.migrator.get(path, follow_redirects=True)
    assert followed.content == b"\x00\x01data"


async def test_labels_are_added_lower_case_and_bad_ones_are_refused(site: Site) -> None:
    page = await site.page(await site.space(), "P")
    path = f"/wiki/rest/api/content/{page['id']}/label"
    added = await site.migrator.post(path, json=[{"prefix": "global", "name": "Red"}])
    assert added.json()["results"][0]["name"] == "red"
    for name in ("a b", "a,b", "x" * 256, ""):
        assert (await site.migrator.post(path, json=[{"prefix": "global", "name": name}])).status_code == 400
    listed = await site.migrator.get(f"/wiki/api/v2/pages/{page['id']}/labels")
    assert [label["name"] for label in listed.json()["results"]] == ["red"]


async def test_a_property_is_created_once_and_updated_by_version(site: Site) -> None:
    page = await site.page(await site.space(), "P")
    path = f"/wiki/api/v2/pages/{page['id']}/properties"
    made = (await site.migrator.post(path, json={"key": "source", "value": {"id": 1}})).json()
    assert (await site.migrator.post(path, json={"key": "source", "value": 1})).status_code == 409
    wrong = {"key": "source", "value": 2, "version": {"number": 1}}
    assert (await site.migrator.put(f"{path}/{made['id']}", json=wrong)).status_code == 409
    right = wrong | {"version": {"number": 2}}
    assert (await site.migrator.put(f"{path}/{made['id']}", json=right)).json()["value"] == 2
    assert (await site.migrator.get(path, params={"key": "source"})).json()["results"][0]["version"]["number"] == 2


async def test_an_unknown_address_is_404_and_a_wrong_method_405(site: Site) -> None:
    assert (await site.migrator.get("/wiki/api/v2/nothing")).status_code == 404
    assert (await site.migrator.patch("/wiki/api/v2/pages")).status_code == 405


async def test_what_hangs_on_content_is_listed_over_the_whole_site_as_far_as_one_may_see(site: Site) -> None:
    open_, closed = await site.space(), await site.space("SHUT", private=True)
    for space in (open_, closed):
        page = await site.page(space, "Page", "<p>the red fox</p>")
        for data in (b"one", b"two"):
            await site.attach(page["id"], "a.txt", data)
        body = {"representation": "storage", "value": "<p>c</p>"}
        await site.migrator.post("/wiki/api/v2/footer-comments", json={"pageId": page["id"], "body": body})
        selection = {"textSelection": "red", "textSelectionMatchCount": 1, "textSelectionMatchIndex": 0}
        inline = {"pageId": page["id"], "body": body, "inlineCommentProperties": selection}
        await site.migrator.post("/wiki/api/v2/inline-comments", json=inline)
    for what in ("attachments", "footer-comments", "inline-comments"):
        seen = [(await who.get(f"/wiki/api/v2/{what}")).json()["results"] for who in (site.migrator, site.reader)]
        assert [len(each) for each in seen] == [2, 1], what
    file = (await site.reader.get("/wiki/api/v2/attachments?filename=a.txt")).json()["results"][0]
    version = (await site.reader.get(f"/wiki/api/v2/attachments/{file['id']}/versions/1")).json()
    assert (version["number"], version["nextVersion"]) == (1, 2)
    assert (await site.reader.get(f"/wiki/api/v2/pages/{file['pageId']}/versions/1")).json()["number"] == 1
    assert (await site.reader.get(f"/wiki/api/v2/pages/{file['pageId']}/versions/9")).status_code == 404
