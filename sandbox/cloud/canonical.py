"""A whole site as one document that holds nothing of chance: no ids, no times but the dates of blog posts."""

import re
from typing import Any

from sandbox.cloud.spaces import ROLES
from sandbox.cloud.state import ANONYMOUS, Attachment, Comment, Content, Property, Restriction, Site, Space
from sandbox.wire import Document

_NUMBER = re.compile(r"(?<![0-9A-Za-z])(?:att)?[0-9]{4,19}(?![0-9A-Za-z])")
_ROLE = {role.id: role.name for role in ROLES}
_ACCOUNT = re.compile(r"712020:[0-9a-f-]{36}")


def canonical(site: Site) -> Document:
    """Everything on the site, ids replaced by paths and addresses. Lists have an order of their own or are sorted."""
    return _Writer(site).document()


class _Writer:
    def __init__(self, site: Site) -> None:
        self.site = site

    def document(self) -> Document:
        site = self.site
        return {
            "accounts": sorted(
                (
                    {
                        "email": account.email,
                        "name": account.name,
                        "active": account.active,
                        "invited": account.invited,
                        "managed": account.managed,
                        "confluence": site.has_product(account, "confluence"),
                        "jira": site.has_product(account, "jira"),
                    }
                    for account in site.accounts.values()
                ),
                key=lambda item: str(item["email"]),
            ),
            "groups": sorted(
                (
                    {
                        "name": group.name,
                        "access": sorted(group.products),
                        "directory": group.synced,
                        "members": sorted(site.accounts[id_].email for id_ in group.members),
                    }
                    for group in site.groups.values()
                ),
                key=lambda item: str(item["name"]),
            ),
            "mails": sorted(
                ({"to": mail.to, "kind": mail.kind, "text": mail.text} for mail in site.mails),
                key=lambda item: item["to"],
            ),
            "spaces": [self._space(space) for space in sorted(site.spaces.values(), key=lambda space: space.key)],
        }

    def _principal(self, identifier: str) -> str:
        if identifier in self.site.accounts:
            return f"user {self.site.accounts[identifier].email}"
        if identifier in self.site.groups:
            return f"group {self.site.groups[identifier].name}"
        return identifier if identifier != ANONYMOUS else "anonymous"

    def _email(self, id_: str) -> str:
        account = self.site.accounts.get(id_)
        return account.email if account is not None else id_

    def _space(self, space: Space) -> Document:
        site = self.site
        grants: dict[str, list[str]] = {}
        for (key, target), identifiers in space.grants.items():
            for identifier in identifiers:
                grants.setdefault(self._principal(identifier), []).append(f"{key} {target}")
        readers = space.grants.get(("read", "space"), set())
        live = [site.content[id_] for id_ in [*space.pages, *space.blogposts]]
        blogposts = [content for content in live if content.kind == "blogpost" and content.status == "current"]
        return {
            "key": space.key,
            "name": space.name,
            "description": space.description,
            "status": space.status,
            "private": readers <= {space.creator},
            "homepage": self._path(site.content[space.homepage]) if space.homepage in site.content else None,
            "permissions": {name: sorted(operations) for name, operations in sorted(grants.items())},
            "roles": sorted(f"{_ROLE[item.role]}: {self._principal(item.principal_id)}" for item in space.assignments),
            "labels": _labels(space.labels),
            "properties": self._properties(space.properties),
            "watchers": sorted(map(self._email, space.watchers)),
            "pages": [self._content(site.content[id_]) for id_ in space.roots],
            "blogposts": [
                self._content(content)
                for content in sorted(blogposts, key=lambda item: (item.created[:10], item.title))
            ],
            "others": sorted(
                (
                    {"kind": content.kind, "title": content.title, "status": content.status}
                    for content in live
                    if content.status in ("trashed", "archived")
                ),
                key=lambda item: (item["kind"], item["title"], item["status"]),
            ),
        }

    def _content(self, content: Content) -> Document:
        """A page with everything below it, or a blog post. Deep trees are walked without recursion."""
        top = self._one(content)
        stack = [(content, top)]
        while stack:
            node, document = stack.pop()
            for id_ in node.children:
                child = self.site.content[id_]
                below = self._one(child)
                document["children"].append(below)
                stack.append((child, below))
        return top

    def _one(self, content: Content) -> Document:
        document: Document = {
            "title": content.title,
            "status": content.status,
            "body": self._body(content.body),
            "owner": self._email(content.owner),
            "labels": _labels(content.labels),
            "properties": self._properties(content.properties),
            "restrictions": {
                name: self._restriction(restriction)
                for name, restriction in (("read", content.read), ("update", content.update))
                if restriction
            },
            "watchers": sorted(map(self._email, content.watchers)),
            "attachments": [
                self._attachment(self.site.attachments[id_]) for _, id_ in sorted(content.attachments.items())
            ],
            "comments": [self._comment(self.site.comments[id_]) for id_ in content.comments],
            "children": [],
        }
        if content.kind == "blogpost":
            document["date"] = content.created[:10]
        return document

    def _restriction(self, restriction: Restriction) -> list[str]:
        return sorted(map(self._principal, [*restriction.users, *restriction.groups]))

    def _attachment(self, attachment: Attachment) -> Document:
        last = attachment.versions[-1]
        return {
            "name": attachment.filename,
            "mediaType": last.media_type,
            "comment": last.comment,
            "size": last.size,
            "sha256": last.sha256,
            "versions": [
                {"sha256": blob.sha256, "mediaType": blob.media_type, "comment": blob.comment, "minor": blob.minor}
                for blob in attachment.versions
            ],
            "labels": _labels(attachment.labels),
            "properties": self._properties(attachment.properties),
            "comments": [self._comment(self.site.comments[id_]) for id_ in attachment.comments],
        }

    def _comment(self, comment: Comment) -> Document:
        document: Document = {
            "kind": "inline" if comment.inline else "footer",
            "body": self._body(comment.body),
            "properties": self._properties(comment.properties),
            "replies": [self._comment(self.site.comments[id_]) for id_ in comment.children],
        }
        if comment.inline and comment.parent is None:
            document |= {"selection": comment.selection, "match": comment.match, "resolution": comment.resolution}
        return document

    def _properties(self, properties: dict[int, Property]) -> dict[str, Any]:
        return {item.key: self._value(item.value) for item in sorted(properties.values(), key=lambda item: item.key)}

    def _value(self, value: Any) -> Any:
        if isinstance(value, str):
            return self._body(value)
        if isinstance(value, list):
            return [self._value(item) for item in value]
        if isinstance(value, dict):
            return {key: self._value(item) for key, item in sorted(value.items())}
        return value

    def _path(self, content: Content) -> str:
        return self.site.identity(content)

    def _body(self, body: str) -> str:
        """The body with ids of this site replaced by what they name."""

        def name(match: re.Match[str]) -> str:
            number = int(match[0].removeprefix("att"))
            if number in self.site.content:
                return f"{{{self._path(self.site.content[number])}}}"
            if number in self.site.attachments:
                attachment = self.site.attachments[number]
                return f"{{attachment {attachment.filename} on {self._path(self.site.content[attachment.container])}}}"
            if number in self.site.spaces:
                return f"{{space {self.site.spaces[number].key}}}"
            if number in self.site.comments:
                return "{comment}"
            return match[0]

        body = _ACCOUNT.sub(lambda match: f"{{account {self._email(match[0])}}}", body)
        return _NUMBER.sub(name, body)


def _labels(labels: dict[tuple[str, str], int]) -> list[str]:
    return sorted(f"{prefix}:{name}" for prefix, name in labels)
