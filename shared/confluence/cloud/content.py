"""Pages, blog posts, comments, labels, properties and restrictions of the site."""

from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from datetime import datetime
from typing import Literal

from shared.confluence.cloud import parsing
from shared.confluence.cloud.transport import Transport
from shared.confluence.site import (
    NotOnSite,
    OutcomeUnknown,
    PropertyTaken,
    SiteComment,
    SiteContent,
    TitleTaken,
    VersionConflict,
)

PAGE = 250
PAGE_WITH_BODIES = 25  # bodies reach 5 MB each: fewer at once keeps memory bounded
IDS_AT_ONCE = 100  # keeps the address of a request by ids well under 8 KB

Kind = Literal["page", "blogpost"]
Representation = Literal["storage", "wiki"]
Operation = Literal["read", "update"]

PLURAL = {
    "page": "pages",
    "blogpost": "blogposts",
    "attachment": "attachments",
    "comment": "footer-comments",
    "inline_comment": "inline-comments",
    "space": "spaces",
}
# Properties of comments have one address, whatever the comment's place.
_WITH_PROPERTIES = {**PLURAL, "comment": "comments"}


class Contents:
    """Part of ``CloudSite``. Bodies are sent and read as storage format; wiki markup is converted by the site."""

    _site: Transport

    # Writing pages and blog posts

    async def create_page(
        self,
        space_id: str,
        title: str,
        body: str,
        *,
        parent_id: str | None = None,
        root_level: bool = False,
        private: bool = False,
        representation: Representation = "storage",
    ) -> SiteContent:
        """Create a page (v2). Without ``parent_id`` it lies under the homepage, with ``root_level`` beside it.

        ``private``: only the creator may see and edit it, from the first moment. The author is the account, the time
        now: the API has no fields for them. Raises ``TitleTaken``: also archived pages and drafts hold their titles.
        """
        params = {name: "true" for name, wanted in (("root-level", root_level), ("private", private)) if wanted}
        data: dict[str, object] = {
            "spaceId": space_id,
            "status": "current",
            "title": title,
            "body": {"representation": representation, "value": body},
        }
        if parent_id is not None:
            data["parentId"] = parent_id
        answer = await self._site.write(
            "create page", "POST", "/wiki/api/v2/pages", data, params=params, taken=TitleTaken
        )
        return _written("create page", "page", answer)

    async def update_page(
        self,
        page_id: str,
        *,
        title: str,
        body: str,
        version: int,
        parent_id: str | None = None,
        owner_id: str | None = None,
        message: str | None = None,
        representation: Representation = "storage",
    ) -> SiteContent:
        """Replace a page's title and body (v2). ``version``: the one seen. A newer one there: ``VersionConflict``.

        A page in the trash comes back by this.
        """
        data = _update(page_id, title, body, version=version, message=message, representation=representation)
        if parent_id is not None:
            data["parentId"] = parent_id
        if owner_id is not None:
            data["ownerId"] = owner_id
        answer = await self._site.write("update page", "PUT", f"/wiki/api/v2/pages/{page_id}", data, taken=TitleTaken)
        return _written("update page", "page", answer)

    async def create_blogpost(
        self,
        space_id: str,
        title: str,
        body: str,
        *,
        created_at: datetime | None,
        private: bool = False,
        representation: Representation = "storage",
    ) -> SiteContent:
        """Create a blog post (v2). ``created_at`` decides the posting day that links to it name."""
        data: dict[str, object] = {
            "spaceId": space_id,
            "status": "current",
            "title": title,
            "body": {"representation": representation, "value": body},
        }
        if created_at is not None:
            data["createdAt"] = parsing.timestamp(created_at)
        answer = await self._site.write(
            "create blog post",
            "POST",
            "/wiki/api/v2/blogposts",
            data,
            params={"private": "true"} if private else None,
            taken=TitleTaken,
        )
        return _written("create blog post", "blogpost", answer)

    async def update_blogpost(
        self,
        blogpost_id: str,
        *,
        title: str,
        body: str,
        version: int,
        message: str | None = None,
        created_at: datetime | None = None,
        representation: Representation = "storage",
    ) -> SiteContent:
        """Replace a blog post's title and body (v2). ``version``: the one that was seen."""
        data = _update(blogpost_id, title, body, version=version, message=message, representation=representation)
        if created_at is not None:
            data["createdAt"] = parsing.timestamp(created_at)
        answer = await self._site.write(
            "update blog post", "PUT", f"/wiki/api/v2/blogposts/{blogpost_id}", data, taken=TitleTaken
        )
        return _written("update blog post", "blogpost", answer)

    async def move_page(self, page_id: str, position: Literal["before", "after", "append"], target_id: str) -> None:
        """Put a page before or after a sibling, or as the last child of ``target_id`` (v1)."""
        await self._site.write(
            "move page",
            "PUT",
            f"/wiki/rest/api/content/{page_id}/move/{position}/{target_id}",
            taken=TitleTaken,
        )

    async def delete_content(
        self,
        kind: Literal["page", "blogpost", "attachment", "comment", "inline_comment"],
        content_id: str,
        purge: bool = False,
    ) -> None:
        """Move to the trash; with ``purge`` remove for good what is in the trash (v2). Comments have no trash."""
        await self._site.write(
            f"delete {kind}",
            "DELETE",
            f"/wiki/api/v2/{PLURAL[kind]}/{content_id}",
            params={"purge": "true"} if purge else None,
        )

    # Reading pages and blog posts

    async def content(self, kind: Kind, content_id: str, body: bool = False) -> SiteContent:
        """One page or blog post (v2). Raises ``NotOnSite`` also where it is in the trash or may not be seen."""
        answer = await self._site.read(
            f"read {kind}",
            f"/wiki/api/v2/{PLURAL[kind]}/{content_id}",
            {"body-format": "storage"} if body else None,
        )
        if parsing.fields(answer).get("status") in ("trashed", "deleted"):
            raise NotOnSite(f"read {kind}: it is in the trash", 404)
        return parsing.content(kind, answer)

    async def find_content(self, kind: Kind, space_id: str, title: str) -> list[SiteContent]:
        """The current pages (at most one) or blog posts of a space with exactly this title (v2)."""
        found = [
            parsing.content(kind, data)
            async for data in self._site.each(
                f"find {kind}",
                f"/wiki/api/v2/{PLURAL[kind]}",
                {"space-id": space_id, "title": title, "status": "current", "limit": PAGE},
            )
        ]
        return [content for content in found if content.title == title and content.space_id == space_id]

    async def contents(
        self, kind: Kind, space_id: str, body: bool = False, *, archived: bool = False
    ) -> AsyncIterator[SiteContent]:
        """All current pages or blog posts of a space, in no promised order (v2). ``archived``: those pages, too."""
        statuses = ["current", "archived"] if archived and kind == "page" else ["current"]
        params: dict[str, str | int | Sequence[str]] = {
            "status": statuses,
            "limit": PAGE_WITH_BODIES if body else PAGE,
        }
        if body:
            params["body-format"] = "storage"
        async for data in self._site.each(f"list {kind}s", f"/wiki/api/v2/spaces/{space_id}/{PLURAL[kind]}", params):
            yield parsing.content(kind, data)

    async def root_pages(self, space_id: str) -> list[SiteContent]:
        """The pages of a space without a parent, among them the homepage, in sibling order (v2)."""
        roots = [
            parsing.content("page", data)
            async for data in self._site.each(
                "list root pages",
                f"/wiki/api/v2/spaces/{space_id}/pages",
                {"depth": "root", "status": "current", "limit": PAGE},
            )
        ]
        return sorted(roots, key=lambda page: (page.position is None, page.position or 0, int(page.id)))

    async def children(self, page_id: str) -> AsyncIterator[SiteContent]:
        """The current child pages in sibling order (v2). Lists of children name ids only; versions are read by ids."""
        waiting: dict[str, int | None] = {}
        async for child in self._site.each(
            "list children", f"/wiki/api/v2/pages/{page_id}/children", {"sort": "child-position", "limit": PAGE}
        ):
            if child.get("status", "current") == "current":
                waiting[str(child["id"])] = child.get("childPosition")
            if len(waiting) == IDS_AT_ONCE:
                for page in await self._pages_in_order(list(waiting)):
                    yield page
                waiting = {}
        for page in await self._pages_in_order(list(waiting)):
            yield page

    async def _pages_in_order(self, ids: Sequence[str]) -> list[SiteContent]:
        if not ids:
            return []
        by_id = {
            str(data["id"]): parsing.content("page", data)
            async for data in self._site.each("read pages", "/wiki/api/v2/pages", {"id": ids, "limit": PAGE})
        }
        return [by_id[page_id] for page_id in ids if page_id in by_id]  # one may be deleted in between

    # Comments

    async def create_footer_comment(
        self,
        *,
        body: str,
        page_id: str | None = None,
        blogpost_id: str | None = None,
        attachment_id: str | None = None,
        parent_id: str | None = None,
        representation: Representation = "storage",
    ) -> SiteComment:
        """Create a comment at the foot of exactly one thing, or as the reply to ``parent_id`` (v2)."""
        places = {
            "pageId": page_id,
            "blogPostId": blogpost_id,
            "attachmentId": attachment_id,
            "parentCommentId": parent_id,
        }
        place = {name: value for name, value in places.items() if value is not None}
        if len(place) != 1:
            raise ValueError("a comment needs exactly one place")
        data = {**place, "body": {"representation": representation, "value": body}}
        answer = parsing.fields(await self._site.write("create comment", "POST", "/wiki/api/v2/footer-comments", data))
        if "id" not in answer:
            raise OutcomeUnknown("create comment: the answer names no comment")
        return parsing.comment(answer, container=page_id or blogpost_id or attachment_id, parent=parent_id)

    async def footer_comments(
        self, container_kind: Literal["page", "blogpost", "attachment"], container_id: str
    ) -> AsyncIterator[SiteComment]:
        """The comments that answer none, with bodies (v2). Their replies: ``comment_replies``."""
        async for data in self._site.each(
            "list comments",
            f"/wiki/api/v2/{PLURAL[container_kind]}/{container_id}/footer-comments",
            {"body-format": "storage", "limit": PAGE_WITH_BODIES},
        ):
            yield parsing.comment(data, container=container_id)

    async def comment_replies(self, comment_id: str) -> AsyncIterator[SiteComment]:
        """The direct replies to a comment, with bodies; ``container`` may be None (v2)."""
        async for data in self._site.each(
            "list replies",
            f"/wiki/api/v2/footer-comments/{comment_id}/children",
            {"body-format": "storage", "limit": PAGE_WITH_BODIES},
        ):
            yield parsing.comment(data, parent=comment_id)

    async def create_inline_comment(
        self,
        *,
        body: str,
        page_id: str | None = None,
        blogpost_id: str | None = None,
        selection: str = "",
        count: int = 1,
        index: int = 0,
        parent_id: str | None = None,
        representation: Representation = "storage",
    ) -> SiteComment:
        """Comment on a piece of the content's text, the ``index``-th (from 0) of ``count`` equal ones, or answer such a
        comment (v2). Refused where the rendered text does not hold it exactly so often."""
        data: dict[str, object] = {"body": {"representation": representation, "value": body}}
        if parent_id is not None:
            data["parentCommentId"] = parent_id
        else:
            data |= {"pageId": page_id} if page_id is not None else {"blogPostId": blogpost_id}
            data["inlineCommentProperties"] = {
                "textSelection": selection,
                "textSelectionMatchCount": count,
                "textSelectionMatchIndex": index,
            }
        operation = "create inline comment"
        answer = parsing.fields(await self._site.write(operation, "POST", "/wiki/api/v2/inline-comments", data))
        if "id" not in answer:
            raise OutcomeUnknown("create inline comment: the answer names no comment")
        return parsing.comment(answer, container=page_id or blogpost_id, parent=parent_id)

    async def inline_comments(self, container_kind: Kind, container_id: str) -> AsyncIterator[SiteComment]:
        """The comments on pieces of its text, whatever their state, with bodies (v2). Replies: ``inline_replies``."""
        async for data in self._site.each(
            "list inline comments",
            f"/wiki/api/v2/{PLURAL[container_kind]}/{container_id}/inline-comments",
            {"body-format": "storage", "limit": PAGE_WITH_BODIES},
        ):
            yield parsing.comment(data, container=container_id)

    async def inline_replies(self, comment_id: str) -> AsyncIterator[SiteComment]:
        """The direct replies to an inline comment, with bodies (v2)."""
        async for data in self._site.each(
            "list inline replies",
            f"/wiki/api/v2/inline-comments/{comment_id}/children",
            {"body-format": "storage", "limit": PAGE_WITH_BODIES},
        ):
            yield parsing.comment(data, parent=comment_id)

    async def comment(self, comment_id: str, inline: bool) -> SiteComment:
        """One comment with its body (v2)."""
        path = f"/wiki/api/v2/{PLURAL['inline_comment' if inline else 'comment']}/{comment_id}"
        return parsing.comment(await self._site.read("read comment", path, {"body-format": "storage"}))

    async def update_comment(
        self, comment_id: str, *, inline: bool, body: str, version: int, resolved: bool | None = None
    ) -> SiteComment:
        """Replace a comment's body; ``resolved`` closes or reopens an inline one (v2). ``version``: the one seen."""
        data: dict[str, object] = {
            "version": {"number": version + 1},
            "body": {"representation": "storage", "value": body},
        }
        if resolved is not None:
            data["resolved"] = resolved
        path = f"/wiki/api/v2/{PLURAL['inline_comment' if inline else 'comment']}/{comment_id}"
        return parsing.comment(parsing.fields(await self._site.write("update comment", "PUT", path, data)))

    # Labels, properties, restrictions, watches

    async def add_labels(self, content_id: str, names: Collection[str]) -> None:
        """Add global labels to a page, blog post or attachment (v1). Those that are there already stay."""
        await self._site.write(
            "add labels",
            "POST",
            f"/wiki/rest/api/content/{content_id}/label",
            [{"prefix": "global", "name": name} for name in names],
        )

    async def labels(self, kind: Literal["page", "blogpost", "attachment"], content_id: str) -> list[str]:
        """The names of the global labels (v2)."""
        return [
            str(data["name"])
            async for data in self._site.each(
                "list labels", f"/wiki/api/v2/{PLURAL[kind]}/{content_id}/labels", {"limit": PAGE}
            )
            if data.get("prefix", "global") == "global"
        ]

    async def set_property(
        self,
        kind: Literal["page", "blogpost", "attachment", "comment", "space"],
        content_id: str,
        key: str,
        value: object,
    ) -> None:
        """Create a property or, where it is there with another value, write its next version (v2)."""
        path = f"/wiki/api/v2/{_WITH_PROPERTIES[kind]}/{content_id}/properties"
        try:
            await self._site.write("create property", "POST", path, {"key": key, "value": value}, taken=PropertyTaken)
            return
        except (PropertyTaken, VersionConflict):
            pass
        async for data in self._site.each("find property", path, {"key": key}):
            if data.get("key") == key and data.get("value") != value:
                seen = int(parsing.fields(data.get("version")).get("number", 1))
                await self._site.write(
                    "update property",
                    "PUT",
                    f"{path}/{data['id']}",
                    {"key": key, "value": value, "version": {"number": seen + 1}},
                )

    async def set_restrictions(
        self, content_id: str, restrictions: Mapping[Operation, tuple[Collection[str], Collection[str]]]
    ) -> None:
        """Replace all restrictions of a page or blog post: operation → (account ids, group ids) (v1).

        An operation without anybody is unrestricted. The caller's own account has to stay in "read" and "update", or it
        loses the content by this call.
        """
        wanted = []
        for operation, (accounts, groups) in restrictions.items():
            holders: dict[str, object] = {}
            if accounts:
                holders["user"] = [{"type": "known", "accountId": account} for account in accounts]
            if groups:
                holders["group"] = [{"type": "group", "id": group} for group in groups]
            if holders:
                wanted.append({"operation": operation, "restrictions": holders})
        path = f"/wiki/rest/api/content/{content_id}/restriction"
        if wanted:
            await self._site.write("set restrictions", "PUT", path, wanted)
        else:
            await self._site.write("remove restrictions", "DELETE", path)

    async def restrictions(self, content_id: str) -> dict[Operation, tuple[list[str], list[str]]]:
        """Operation → (account ids, group ids), at most the first 200 of each (v1). No entry: unrestricted."""
        found: dict[Operation, tuple[list[str], list[str]]] = {}
        async for data in self._site.each(
            "read restrictions",
            f"/wiki/rest/api/content/{content_id}/restriction",
            {"expand": "restrictions.user,restrictions.group"},
        ):
            holders = parsing.fields(data.get("restrictions"))
            accounts = [
                str(user["accountId"])
                for user in parsing.fields(holders.get("user")).get("results", ())
                if user.get("accountId")
            ]
            groups = [str(group["id"]) for group in parsing.fields(holders.get("group")).get("results", ())]
            operation = data.get("operation")
            if operation in ("read", "update") and (accounts or groups):
                found[operation] = (accounts, groups)
        return found

    async def watch_content(self, content_id: str, account_id: str) -> None:
        """Make someone watch a page or blog post; needs a Confluence administrator (v1)."""
        await self._site.write(
            "watch content",
            "POST",
            f"/wiki/rest/api/user/watch/content/{content_id}",
            params={"accountId": account_id},
            headers={"X-Atlassian-Token": "no-check"},
        )


def _update(
    content_id: str, title: str, body: str, *, version: int, message: str | None, representation: Representation
) -> dict[str, object]:
    following: dict[str, object] = {"number": version + 1}
    if message is not None:
        following["message"] = message
    return {
        "id": content_id,
        "status": "current",
        "title": title,
        "body": {"representation": representation, "value": body},
        "version": following,
    }


def _written(operation: str, kind: Kind, answer: object) -> SiteContent:
    data = parsing.fields(answer)
    if "id" not in data:
        raise OutcomeUnknown(f"{operation}: the answer names no {kind}")
    return parsing.content(kind, data)
