"""v2: lists over the whole site of what hangs on content, and single versions."""

from sandbox.cloud import rules
from sandbox.cloud.call import V2, Call, Handler, Route
from sandbox.cloud.rules import v2_id, v2_missing
from sandbox.cloud.state import Kind, Version
from sandbox.cloud.v2_comments import (
    LISTED_COMMENTS,
    SORTS,
    attachment_doc,
    listed_comments,
    owner_of,
    visible_attachment,
)
from sandbox.cloud.v2_content import all_versions, version_doc
from sandbox.wire import Answer, Document, answer


def _comments(inline: bool) -> Handler:
    def comments(call: Call) -> Answer:
        rules.v2_query(call.request, LISTED_COMMENTS)
        found = [
            comment.id
            for comment in call.site.comments.values()
            if comment.inline is inline
            and (owner := owner_of(call, comment)) is not None
            and owner.status == "current"
            and call.site.sees(call.account, owner)
        ]
        return listed_comments(call, found)

    return comments


def _attachments(call: Call) -> Answer:
    rules.v2_query(
        call.request,
        {
            "sort": SORTS,
            "cursor": None,
            "status": ("current", "archived", "trashed"),
            "mediaType": None,
            "filename": None,
            "limit": None,
        },
    )
    name, media_type = call.request.get("filename"), call.request.get("mediaType")
    statuses = call.request.all("status") or ["current", "archived"]
    found = [
        attachment
        for attachment in call.site.attachments.values()
        if attachment.status in statuses
        and name in (None, attachment.filename)
        and media_type in (None, attachment.versions[-1].media_type)
        and call.site.sees(call.account, call.site.content[attachment.container])
    ]
    return call.v2_list(found, lambda attachment: attachment_doc(call, attachment))


def _detailed(version: Document, number: int, numbers: list[int]) -> Document:
    """A version with its neighbours."""
    before = max((each for each in numbers if each < number), default=None)
    after = min((each for each in numbers if each > number), default=None)
    beside = {"prevVersion": before, "nextVersion": after}
    return version | {"contentTypeModified": False} | {name: n for name, n in beside.items() if n is not None}


def _version(kind: Kind) -> Handler:
    def version(call: Call) -> Answer:
        rules.v2_query(call.request, {})
        content = call.v2_content(v2_id(call.params[0]), kind)
        number = v2_id(call.params[1], "version")
        found: dict[int, Version] = {each.number: each for each in all_versions(content)}
        if number not in found:
            raise v2_missing("version")
        document = version_doc(found[number])
        document.pop("ncsStepVersion")
        return answer(_detailed(document, number, list(found)))

    return version


def _attachment_version(call: Call) -> Answer:
    rules.v2_query(call.request, {})
    attachment = visible_attachment(call, call.params[0])
    number = v2_id(call.params[1], "version")
    found = {blob.number: blob for blob in attachment.versions}
    if number not in found:
        raise v2_missing("version")
    blob = found[number]
    document: Document = {
        "number": number,
        "message": blob.comment,
        "minorEdit": blob.minor,
        "authorId": blob.author,
        "createdAt": blob.created,
    }
    return answer(_detailed(document, number, list(found)))


ROUTES: tuple[Route, ...] = (
    ("GET", f"{V2}/attachments", _attachments),
    ("GET", f"{V2}/attachments/{{id}}/versions/{{number}}", _attachment_version),
    ("GET", f"{V2}/footer-comments", _comments(False)),
    ("GET", f"{V2}/inline-comments", _comments(True)),
    ("GET", f"{V2}/pages/{{id}}/versions/{{number}}", _version("page")),
    ("GET", f"{V2}/blogposts/{{id}}/versions/{{number}}", _version("blogpost")),
)
