"""Helpers that put an instance together: people, spaces, trees of pages from an outline, comments, files."""

import random
from datetime import datetime, timedelta
from xml.sax.saxutils import escape, quoteattr

from sandbox.sample.model import (
    Content,
    Inline,
    Instance,
    Kind,
    Restriction,
    Revision,
    Space,
    SpacePermission,
    User,
    user_key,
)

#: What a member of a space may do on a usual instance, in the words of exports.
MEMBER = ("VIEWSPACE", "EDITSPACE", "EDITBLOG", "COMMENT", "CREATEATTACHMENT", "REMOVEOWNCONTENT", "EXPORTSPACE")
#: What its keepers may do besides.
KEEPER = (
    *MEMBER,
    "REMOVEPAGE",
    "REMOVEBLOG",
    "REMOVECOMMENT",
    "REMOVEATTACHMENT",
    "SETPAGEPERMISSIONS",
    "SETSPACEPERMISSIONS",
    "REMOVEMAIL",
)


class Builder:
    """Fills one instance, always the same from the same seed. Times run forward by some hours with everything made."""

    def __init__(self, instance: Instance, start: datetime) -> None:
        self.instance = instance
        self.random = random.Random(f"{instance.seed}:{instance.name}")
        self.clock = start.replace(tzinfo=instance.timezone)
        self.pages: dict[tuple[str, str], Content] = {}

    def tick(self) -> datetime:
        self.clock += timedelta(minutes=self.random.randrange(7, 400), seconds=self.random.randrange(60))
        return self.clock

    def user(
        self,
        username: str,
        display_name: str,
        email: str | None,
        active: bool = True,
        directory: str = "Confluence Internal Directory",
    ) -> User:
        key = user_key(self.instance.seed, self.instance.name, username)
        return self.instance.add_user(User(key, username, display_name, email, active, directory))

    def key(self, username: str) -> str:
        """Key of a user, also of one that was deleted."""
        found = self.instance.user_by_name(username)
        return found.key if found else user_key(self.instance.seed, self.instance.name, username)

    def space(
        self,
        key: str,
        name: str,
        description: str,
        by: str,
        *,
        archived: bool = False,
        keepers: str = "confluence-administrators",
        members: tuple[str, ...] = ("confluence-users",),
        anonymous: bool = False,
    ) -> Space:
        personal = key.startswith("~")
        permissions = [SpacePermission(t, group=keepers) for t in KEEPER]
        permissions += [SpacePermission(t, group=g) for g in members if g != keepers for t in MEMBER]
        permissions += [SpacePermission(t, user=self.key(by)) for t in KEEPER]
        if anonymous:
            permissions.append(SpacePermission("VIEWSPACE"))
        space = Space(
            self.instance.new_id(),
            key,
            name,
            "personal" if personal else "global",
            "archived" if archived else "current",
            description,
            self.key(by),
            self.tick(),
            permissions=permissions,
        )
        self.instance.spaces[key] = space
        return space

    def content(self, kind: Kind, space: str, title: str, by: str, *, body: str = "", versions: int = 1) -> Content:
        created = self.tick()
        revisions = [Revision(1, self.key(by), created)]
        for number in range(2, versions + 1):
            editor = self.random.choice([u.key for u in self.instance.users.values() if u.active])
            message = self.random.choice(("", "", "Wording", "After the inspection", "Fixed the table"))
            revisions.append(Revision(number, editor, self.tick(), message))
        return Content(self.instance.new_id(), kind, space, title, self.key(by), created, revisions, body=body)

    def tree(self, space: Space, outline: str, authors: tuple[str, ...], sentences: tuple[str, ...]) -> None:
        """Pages from an outline indented by two blanks, the homepage first. Some siblings have no position."""
        path: list[Content] = []
        placed: dict[int | None, int] = {}
        for line in outline.strip("\n").splitlines():
            title = line.strip()
            depth = (len(line) - len(line.lstrip())) // 2
            by = self.random.choice(authors)
            page = self.content("page", space.key, title, by, versions=self.random.choice((1, 1, 2, 3)))
            page.body = self.prose(title, sentences)
            page.parent = path[depth - 1].id if depth else None
            if self.random.random() < 0.7:
                page.position = placed.get(page.parent, 0)
                placed[page.parent] = page.position + 1
            del path[depth:]
            path.append(page)
            self.instance.add(page)
            self.pages[space.key, title] = page
            if space.homepage is None:
                space.homepage = page.id

    def prose(self, title: str, sentences: tuple[str, ...]) -> str:
        parts = []
        for _ in range(self.random.choice((1, 2, 2, 3))):
            chosen = self.random.sample(sentences, k=min(len(sentences), self.random.randrange(2, 5)))
            parts.append(f"<p>{escape(' '.join(chosen))}</p>")
        if self.random.random() < 0.3:
            items = "".join(f"<li>{escape(s)}</li>" for s in self.random.sample(sentences, k=2))
            parts.insert(1, f"<h2>{escape(title[:60])} in short</h2><ul>{items}</ul>")
        return "".join(parts)

    def page(self, space: str, title: str) -> Content:
        return self.pages[space, title]

    def put(self, space: str, title: str, *fragments: str) -> Content:
        """Adds fragments to the end of a page."""
        page = self.page(space, title)
        page.body = (page.body or "") + "".join(fragments)
        return page

    def comment(
        self, on: Content, by: str, text: str, reply_to: Content | None = None, inline: Inline | None = None
    ) -> Content:
        comment = self.content("comment", on.space, f"Re: {on.title}", by, body=text)
        comment.container = on.id
        comment.parent = reply_to.id if reply_to else None
        comment.inline = inline
        return self.instance.add(comment)

    def attach(
        self, to: Content, filename: str, media_type: str, size: int, by: str, *, versions: int = 1, comment: str = ""
    ) -> Content:
        file = self.content("attachment", to.space, filename, by, versions=versions)
        file.container = to.id
        file.media_type = media_type
        file.size = max(size, 120)
        file.comment = file.revisions[-1].message = comment
        return self.instance.add(file)

    def post(self, space: str, title: str, by: str, body: str, at: datetime | None = None) -> Content:
        post = self.content("blogpost", space, title, by, body=body)
        if at is not None:
            post.created = at
            post.revisions[0].when = at
        self.pages[space, title] = post
        return self.instance.add(post)

    def restrict(self, page: Content, *restrictions: Restriction) -> None:
        page.restrictions += restrictions

    def label(self, content: Content, *names: str, prefix: str = "global") -> None:
        content.labels += tuple((prefix, n) for n in names)


def mention(key: str) -> str:
    return f'<ac:link><ri:user ri:userkey="{key}" /></ac:link>'


def mention_by_name(username: str) -> str:
    return f"<ac:link><ri:user ri:username={quoteattr(username)} /></ac:link>"


def cdata(text: str) -> str:
    """As a server stores it: what would end the section stands in two."""
    return f"<![CDATA[{text.replace(']]>', ']]]]><![CDATA[>')}]]>"


def link(title: str, text: str, space: str | None = None, anchor: str | None = None) -> str:
    """A link to a page by title."""
    at = f" ac:anchor={quoteattr(anchor)}" if anchor else ""
    key = f' ri:space-key="{space}"' if space else ""
    return (
        f"<ac:link{at}><ri:page{key} ri:content-title={quoteattr(title)} />"
        f"<ac:plain-text-link-body>{cdata(text)}</ac:plain-text-link-body></ac:link>"
    )


def macro(name: str, *, body: str | None = None, code: str | None = None, **parameters: str) -> str:
    inner = "".join(f'<ac:parameter ac:name="{k}">{escape(v)}</ac:parameter>' for k, v in parameters.items())
    if code is not None:
        inner += f"<ac:plain-text-body>{cdata(code)}</ac:plain-text-body>"
    if body is not None:
        inner += f"<ac:rich-text-body>{body}</ac:rich-text-body>"
    return f'<ac:structured-macro ac:name="{name}" ac:schema-version="1">{inner}</ac:structured-macro>'


def image(filename: str, width: int = 320) -> str:
    return f'<ac:image ac:width="{width}"><ri:attachment ri:filename={quoteattr(filename)} /></ac:image>'


def file_link(filename: str, text: str, page: str | None = None) -> str:
    inner = f"<ri:page ri:content-title={quoteattr(page)} />" if page else ""
    return (
        f"<ac:link><ri:attachment ri:filename={quoteattr(filename)}>{inner}</ri:attachment>"
        f"<ac:plain-text-link-body>{cdata(text)}</ac:plain-text-link-body></ac:link>"
    )
