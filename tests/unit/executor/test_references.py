"""Each reference of a body is rewritten, or told with what it names and why it was not."""

from collections.abc import AsyncIterator
from datetime import date
from types import SimpleNamespace
from typing import Any, ClassVar

from services.executor.bodies import Bodies
from shared.confluence.model import Content
from shared.confluence.source import NotInSource
from shared.events.catalog.plan import MoveOptions
from shared.events.catalog.work import Kind

OLD = "https://wiki.example.com"
THERE = {"10": "Here", "11": "Elsewhere"}  # pages of the source, by id


class FakeSource:
    async def find_content(self, key: str, title: str, day: date | None = None) -> str | None:
        return next((id for id, known in THERE.items() if known == title), None)

    async def content(self, id: str) -> Any:
        if id not in THERE:
            raise NotInSource(id)
        return SimpleNamespace(space_id="1")

    async def space(self, id: str) -> Any:
        return SimpleNamespace(key="DOCS")

    async def space_by_key(self, key: str) -> Any:
        return SimpleNamespace(id="1") if key == "DOCS" else None

    async def person_by_name(self, username: str) -> None:
        return None


class FakeJob:
    """``on_site``: ids of the source with what they are on the site; ``space``: of the space there."""

    def __init__(self, on_site: dict[str, str], space: str | None = "s1", **options: Any) -> None:
        self.source, self.on_site, self.space_there = FakeSource(), on_site, space
        self.site, self.pool = SimpleNamespace(url="https://new.example.com"), self
        self.saved = SimpleNamespace(options=MoveOptions(**options))
        self.site_id = self.source_id = "0" * 32
        self.ledgers = [self.site_id]

    async def fetchval(self, query: str, *_: Any) -> None:
        return None

    async def content_target(self, id: str) -> tuple[Kind, str] | None:
        return (Kind.PAGE, self.on_site[id]) if id in self.on_site else None

    async def target(self, kind: Kind, id: str) -> str | None:
        return self.space_there

    async def key_on_site(self, key: str) -> str:
        return key

    async def account(self, id: str) -> str | None:
        return "712020:ann" if id == "ann" else None

    async def former_name(self, id: str | None) -> str | None:
        return "Bob" if self.saved.options.former_names else None


def bodies(job: Any) -> Bodies:
    return Bodies(job, (OLD,), "DOCS")


def page(body: str) -> Content:
    return Content("10", "page", "1", "Here", body, "storage", 1, "ann", None, "bob", None)


def told(body: Any) -> set[tuple[str, str, int]]:
    return {(each.kind, each.why, each.count) for each in body.references}


BY_ID = f'<p><a href="{OLD}/pages/viewpage.action?pageId=11#part">x</a></p>'


async def test_a_link_to_what_is_not_on_the_site_yet_waits_for_it() -> None:
    done = await bodies(FakeJob({})).rewrite(page(BY_ID))
    assert (done.text, done.pending, done.waits) == (BY_ID, True, ("11",))
    assert told(done) == {("url", "not_moved", 1)}


async def test_what_waited_is_put_right_where_it_stands_on_the_site_and_nothing_else_is() -> None:
    other = BY_ID.replace("pageId=11", "pageId=10")
    standing = f"<p>Somebody added this.</p>{BY_ID}{other}"
    done = await bodies(FakeJob({"10": "700010", "11": "700011"})).follow(standing, {"11"})
    address = "https://new.example.com/wiki/spaces/DOCS/pages/700011#part"
    assert done.text == f'<p>Somebody added this.</p><p><a href="{address}">x</a></p>{other}'
    assert (done.rewritten, done.waits) == (1, ())


class SourceWithFiles(FakeSource):
    def __init__(self, files: dict[str, str]) -> None:
        self._files = files

    async def attachment(self, id: str) -> Any:
        return SimpleNamespace(filename=self._files[id])


class JobWithFiles(FakeJob):
    """Page 10 has two files that got another name on the site; of one of them the old name is there, too."""

    files: ClassVar = {"40": "plan.png", "41": "map.png", "42": "map.png"}
    there: ClassVar = {"att1": "plan (2).png", "att2": "map.png", "att3": "map (2).png"}
    rows = (("40", "att1", "title_clash"), ("41", "att2", None), ("42", "att3", "title_clash"))

    def __init__(self) -> None:
        super().__init__({"10": "700010"})
        self.source = SourceWithFiles(self.files)
        self.site.attachments = self._attachments

    async def fetchval(self, query: str, *_: Any) -> Any:
        return "title_clash" in query and "'attachment'" in query

    async def fetch(self, *_: Any) -> list[dict[str, Any]]:
        return [{"id": id, "target": target, "reason": reason} for id, target, reason in self.rows]

    async def _attachments(self, *_: Any) -> AsyncIterator[Any]:
        for id, filename in self.there.items():
            yield SimpleNamespace(id=id, filename=filename)


async def test_a_link_to_a_file_follows_the_name_that_it_got_on_the_site() -> None:
    body = '<ac:image><ri:attachment ri:filename="plan.png" /></ac:image><ac:image><ri:attachment ri:filename="map.png" /></ac:image>'
    done = await bodies(JobWithFiles()).rewrite(page(body))
    assert done.text == body.replace("plan.png", "plan (2).png")


async def test_an_address_of_a_file_follows_the_name_that_it_got_on_the_site() -> None:
    body = "".join(
        f'<a href="{OLD}/download/attachments/10/{name}?version=1">x</a>' for name in ("plan.png", "map.png")
    )
    done = await bodies(JobWithFiles()).rewrite(page(body))
    files = "https://new.example.com/wiki/download/attachments/700010"
    assert done.text == f'<a href="{files}/plan%20%282%29.png">x</a><a href="{files}/map.png">x</a>'


async def test_the_address_of_a_space_that_is_not_on_the_site_is_told_as_not_moved_like_a_link_to_it() -> None:
    body = f'<a href="{OLD}/display/DOCS">x</a><ac:link><ri:space ri:space-key="DOCS" /></ac:link>'
    done = await bodies(FakeJob({}, space=None)).rewrite(page(body))
    assert told(done) == {("url", "not_moved", 1), ("space", "not_moved", 1)}


async def test_a_link_that_was_broken_at_the_source_is_told_as_such_and_stays() -> None:
    body = (
        '<ac:link><ri:page ri:content-title="Nowhere" /></ac:link>'
        f'<a href="{OLD}/pages/viewpage.action?pageId=99">x</a><ac:link><ri:space ri:space-key="GONE" /></ac:link>'
    )
    done = await bodies(FakeJob({})).rewrite(page(body))
    assert (done.text, done.pending) == (body, False)
    assert told(done) == {
        ("page", "not_in_source", 1),
        ("url", "not_in_source", 1),
        ("space", "not_in_source", 1),
    }


async def test_people_without_an_account_become_former_users_with_their_name_only_if_the_plan_says_so() -> None:
    body = '<p><ac:link><ri:user ri:userkey="bob" /></ac:link> <ac:link><ri:user ri:userkey="ann" /></ac:link></p>'
    done = await bodies(FakeJob({})).rewrite(page(body))
    assert done.text == '<p>Former user <ac:link><ri:user ri:account-id="712020:ann" /></ac:link></p>'
    assert told(done) == {("user", "no_account", 1)}
    assert "Former user (Bob)" in (await bodies(FakeJob({}, former_names=True)).rewrite(page(body))).text


async def test_the_line_of_origin_stands_behind_the_body_only_if_the_plan_says_so() -> None:
    done = await bodies(FakeJob({}, provenance="line")).rewrite(page("<p>x</p>"))
    assert done.text.startswith("<p>x</p><p><em>Made by <ac:link>")
    assert "last changed by Former user.</em></p>" in done.text
    assert (await bodies(FakeJob({})).rewrite(page("<p>x</p>"))).text == "<p>x</p>"
