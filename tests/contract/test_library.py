"""The client ``atlassian-python-api``, which was written by others, drives both stand-ins and finds what it wrote."""

import warnings

import pytest

from tests.bench.baseline import NO_CHECK, Script, clients, overwrite
from tests.contract.conftest import Served

VERSIONS = ("5.10.8", "6.13.0", "7.19.0", "8.5.0", "9.2.0", "10.0.3")


@pytest.fixture(autouse=True)
def _quiet() -> None:
    warnings.simplefilter("ignore", DeprecationWarning)


@pytest.mark.parametrize("version", VERSIONS)
def test_spaces_and_pages_of_a_server_of_any_version_are_listed_and_their_bodies_read(served: Served, version: str):
    source, _ = clients(
        served.add(f"server-{version}", "server", version=version, sample="south"), "http://127.0.0.1:1"
    )
    script = Script(source, None)  # type: ignore[arg-type]
    spaces = list(script.source_list("rest/api/space", type="global"))
    assert spaces
    read = 0
    for space in spaces:
        listed = list(script.source_list("rest/api/content", spaceKey=space["key"], type="page", status="current"))
        for page in listed:
            found = source.get_page_by_id(page["id"], expand="body.storage")
            assert found["title"] == page["title"]
            read += bool(found["body"]["storage"]["value"])
    assert read


def test_a_migration_by_script_moves_spaces_pages_files_labels_and_restrictions(served: Served):
    url = served.add("moved-to")
    source, site = clients(served.add("moved-from", "server", version="8.5.0", sample="north"), url)
    moved = Script(source, site).run()
    assert min(moved.spaces, moved.pages, moved.attachments, moved.labels, moved.restrictions) > 0, moved
    titles = {
        page["title"] for space in site.get_spaces() for page in site._get_paged(f"api/v2/spaces/{space['id']}/pages")
    }
    for space in Script(source, site).source_list("rest/api/space", type="global"):
        for page in Script(source, site).source_list("rest/api/content", spaceKey=space["key"], type="page"):
            assert page["title"] in titles


def test_what_the_library_writes_to_a_site_it_reads_back(served: Served):
    _, site = clients("http://127.0.0.1:1", served.add("library"))
    space = site.post("rest/api/space", data={"key": "LIB", "name": "Library"})
    made = [site.create_page(str(space["id"]), f"Page {number}", f"<p>{number}</p>") for number in range(30)]
    listed = list(site._get_paged(f"api/v2/spaces/{space['id']}/pages", params={"limit": 7}))
    assert [page["title"] for page in listed] == ["Library", *(f"Page {number}" for number in range(30))]
    page = made[0]["id"]
    assert site.get_page_by_id(page, body_format="storage")["body"]["storage"]["value"] == "<p>0</p>"
    overwrite(site, page, "Page 0", "<p>again</p>", 2)
    assert site.get_page_by_id(page, body_format="storage")["body"]["storage"]["value"] == "<p>again</p>"
    site.put(
        f"rest/api/content/{page}/child/attachment", headers=NO_CHECK, files={"file": ("a.txt", b"abc", "text/plain")}
    )
    found = site.get(f"api/v2/pages/{page}/attachments")["results"][0]
    assert (found["title"], found["fileSize"]) == ("a.txt", 3)
    content = site.get(f"rest/api/content/{page}/child/attachment/{found['id']}/download", not_json_response=True)
    assert content == b"abc"
    site.post(f"rest/api/content/{page}/label", data=[{"prefix": "global", "name": "tag"}])
    assert [label["name"] for label in site.get_page_labels(page)] == ["tag"]
    me = site.get("rest/api/user/current")["accountId"]
    restriction = {"operation": "read", "restrictions": {"user": [{"type": "known", "accountId": me}], "group": []}}
    site.put(f"rest/api/content/{page}/restriction", data=[restriction])
    read = site.get(f"rest/api/content/{page}/restriction/byOperation/read")
    assert [user["accountId"] for user in read["restrictions"]["user"]["results"]] == [me]
