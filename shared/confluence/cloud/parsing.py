"""From the site's JSON to the dataclasses of ``shared.confluence.site``. A field that is missing becomes None."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from shared.confluence.site import Account, SiteAttachment, SiteComment, SiteContent, SiteGroup, SiteSpace

Fields = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class SitePermission:
    """One space permission. ``principal``: account id, group id or role id.

    ``operation``: "read", "create" …; ``target``: "space", "page" …
    """

    id: str
    principal_type: str
    principal: str
    operation: str
    target: str


@dataclass(frozen=True, slots=True)
class SiteRole:
    """A space role. ``permissions`` as the site names them."""

    id: str
    name: str
    permissions: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class RoleAssignment:
    """Who has which role in a space. ``role_id`` None, where it is sent: takes the principal's role away.

    ``principal``: account id, group id, or the name of an access class ("anonymous-users" …).
    """

    principal_type: Literal["USER", "GROUP", "ACCESS_CLASS"]
    principal: str
    role_id: str | None


def moment(value: object) -> datetime | None:
    """The site's times are ISO 8601 with "Z" or an offset."""
    if not isinstance(value, str) or not value:
        return None
    try:
        parsed = datetime.fromisoformat(value)
    except ValueError:
        return None
    return parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)


def timestamp(value: datetime) -> str:
    """The form of ``createdAt``: yyyy-MM-ddTHH:mm:ss.SSSZ. A naive time would silently shift the posting day."""
    if value.tzinfo is None:
        raise ValueError("a time without a zone")
    return value.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.") + f"{value.microsecond // 1000:03d}Z"


def text(value: object) -> str | None:
    """Ids come as strings in v2 and as numbers in some v1 answers."""
    if isinstance(value, str):
        return value or None
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else None


def fields(value: object) -> Fields:
    return value if isinstance(value, Mapping) else {}


def space(data: Fields) -> SiteSpace:
    return SiteSpace(
        id=str(data["id"]),
        key=str(data["key"]),
        name=str(data.get("name", "")),
        homepage_id=text(data.get("homepageId")) or text(fields(data.get("homepage")).get("id")),
        description=str(fields(fields(data.get("description")).get("plain")).get("value") or ""),
        creator=text(data.get("authorId")),
        created_at=moment(data.get("createdAt")),
        status=str(data.get("status") or "current"),
    )


def content(kind: Literal["page", "blogpost"], data: Fields) -> SiteContent:
    version = fields(data.get("version"))
    body = fields(fields(data.get("body")).get("storage")).get("value")
    position = data.get("position")
    return SiteContent(
        id=str(data["id"]),
        kind=kind,
        space_id=str(data.get("spaceId", "")),
        title=str(data.get("title", "")),
        version=int(version.get("number", 1)),
        author=text(data.get("authorId")),
        created_at=moment(data.get("createdAt")),
        last_editor=text(version.get("authorId")),
        parent=text(data.get("parentId")),
        position=position if isinstance(position, int) else None,
        body=body if isinstance(body, str) else None,
        owner=text(data.get("ownerId")),
    )


def comment(data: Fields, container: str | None = None, parent: str | None = None) -> SiteComment:
    """Lists name only what they were asked by (the page, or the parent): the caller fills in the rest."""
    version = fields(data.get("version"))
    return SiteComment(
        id=str(data["id"]),
        container=text(data.get("pageId"))
        or text(data.get("blogPostId"))
        or text(data.get("attachmentId"))
        or container,
        parent=text(data.get("parentCommentId")) or parent,
        version=int(version.get("number", 1)),
        author=text(version.get("authorId")),
        created_at=moment(version.get("createdAt")),
        body=str(fields(fields(data.get("body")).get("storage")).get("value") or ""),
        inline="resolutionStatus" in data,
        resolved=data.get("resolutionStatus") == "resolved",
    )


def attachment(data: Fields, container: str) -> SiteAttachment:
    """An attachment as v2 lists it for ``container``."""
    version = fields(data.get("version"))
    return SiteAttachment(
        id=attachment_id(str(data["id"])),
        container=text(data.get("pageId")) or text(data.get("blogPostId")) or container,
        filename=str(data.get("title", "")),
        version=int(version.get("number", 1)),
        size=int(data.get("fileSize") or 0),
        media_type=str(data.get("mediaType") or ""),
        author=text(version.get("authorId")),
        created_at=moment(data.get("createdAt")) or moment(version.get("createdAt")),
    )


def uploaded(data: Fields, container: str) -> SiteAttachment:
    """An attachment as v1 answers an upload."""
    version, extensions = fields(data.get("version")), fields(data.get("extensions"))
    media_type = extensions.get("mediaType") or fields(data.get("metadata")).get("mediaType")
    return SiteAttachment(
        id=attachment_id(str(data["id"])),
        container=container,
        filename=str(data.get("title", "")),
        version=int(version.get("number", 1)),
        size=int(extensions.get("fileSize") or 0),
        media_type=str(media_type or ""),
        author=text(fields(version.get("by")).get("accountId")),
        created_at=moment(version.get("when")),
    )


def attachment_id(value: str) -> str:
    return value if value.startswith("att") else f"att{value}"


def account(data: Fields) -> Account:
    """A user as Confluence v1 (``displayName``, ``email``) or Jira (``emailAddress``, ``active``) or v2 tells it."""
    return Account(
        account_id=str(data["accountId"]),
        display_name=text(data.get("displayName")) or text(data.get("publicName")),
        email=text(data.get("emailAddress")) or text(data.get("email")),
        active=bool(data.get("active", True)) and data.get("accountStatus", "active") == "active",
    )


def group(data: Fields) -> SiteGroup:
    return SiteGroup(
        id=str(data.get("id") or data.get("groupId")),
        name=str(data.get("name", "")),
        synced=data.get("managedBy") == "EXTERNAL",
    )


def role(data: Fields) -> SiteRole:
    return SiteRole(
        id=str(data["id"]),
        name=str(data.get("displayName") or data.get("name") or ""),
        permissions=tuple(str(name) for name in data.get("spacePermissions") or ()),
    )


def assignment(data: Fields) -> RoleAssignment:
    principal = fields(data.get("principal"))
    kind = principal.get("principalType")
    return RoleAssignment(
        principal_type=kind if kind in ("USER", "GROUP") else "ACCESS_CLASS",
        principal=str(principal.get("principalId", "")),
        role_id=text(data.get("roleId")),
    )


def permission(data: Fields) -> SitePermission:
    principal, operation = fields(data.get("principal")), fields(data.get("operation"))
    return SitePermission(
        id=str(data["id"]),
        principal_type=str(principal.get("type", "")),
        principal=str(principal.get("id", "")),
        operation=str(operation.get("key", "")),
        target=str(operation.get("targetType", "")),
    )
