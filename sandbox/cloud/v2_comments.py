"""v2: footer and inline comments, their replies, and reading attachments."""

import uuid

from sandbox.cloud import rules
from sandbox.cloud.call import V2, Call, Handler, Route
from sandbox.cloud.rules import v2_id, v2_missing, v2_refuse
from sandbox.cloud.state import NAMESPACE, Attachment, Comment, Content, Version, digest, now
from sandbox.cloud.storage import rendered_text
from sandbox.cloud.v2_content import FORMATS, LISTED, STATUSES, body_doc, remove_comments, stored, version_doc
from sandbox.wire import Answer, Document, answer

SORTS = ("created-date", "-created-date", "modified-date", "-modified-date")
_LIST = {"body-format": LISTED, "status": STATUSES, "sort": SORTS, "cursor": None, "limit": None}
LISTED_COMMENTS = {"body-format": LISTED, "sort": SORTS, "cursor": None, "limit": None}
_CONTAINERS = {"page": "pageId", "blogpost": "blogPostId", "attachment": "attachmentId"}


def owner_of(call: Call, comment: Comment) -> Content | None:
    """The page or blog post that decides who sees the comment."""
    if comment.container_kind == "attachment":
        attachment = call.site.attachments.get(comment.container)
        return call.site.content.get(attachment.container) if attachment is not None else None
    return call.site.content.get(comment.container)


def _visible(call: Call, id_: int, inline: bool) -> Comment:
    comment = call.site.comments.get(id_)
    if comment is not None and comment.inline is inline:
        owner = owner_of(call, comment)
        if owner is not None and call.site.sees(call.account, owner):
            return comment
    raise v2_missing("comment")


def _comment_doc(call: Call, comment: Comment, wanted: str | None) -> Document:
    document: Document = {
        "id": str(comment.id),
        "status": "current",
        "title": "Re:",
        "version": version_doc(comment.version),
        "body": body_doc(comment.body, wanted),
        "authorId": comment.author,
        "createdAt": comment.created,
        "_links": {
            "webui": f"/pages/viewpage.action?focusedCommentId={comment.id}",
            "base": f"{call.request.origin}/wiki",
        },
    }
    container = f"att{comment.container}" if comment.container_kind == "attachment" else str(comment.container)
    document[_CONTAINERS[comment.container_kind]] = container
    if comment.parent is not None:
        document["parentCommentId"] = str(comment.parent)
    if comment.inline:
        document["resolutionStatus"] = comment.resolution
        document["resolutionLastModifierId"] = comment.resolved_by
        if comment.selection is not None:
            document["properties"] = {
                "inlineMarkerRef": comment.marker,
                "inlineOriginalSelection": comment.selection,
                "inline-marker-ref": comment.marker,
                "inline-original-selection": comment.selection,
            }
    return document


def attachment_number(text: str) -> int:
    """The number of an attachment id, written with or without "att"."""
    return v2_id(text.removeprefix("att"), "attachment")


def visible_attachment(call: Call, text: str) -> Attachment:
    attachment = call.site.attachments.get(attachment_number(text))
    if attachment is not None and call.site.sees(call.account, call.site.content[attachment.container]):
        return attachment
    raise v2_missing("attachment")


def _create(inline: bool) -> Handler:
    fields = rules.INLINE_CREATE if inline else rules.FOOTER_CREATE
    targets = ("pageId", "blogPostId", "parentCommentId") + (() if inline else ("attachmentId", "customContentId"))

    def create(call: Call) -> Answer:
        rules.v2_query(call.request, {})
        account = call.user()
        document = rules.v2_json(call.request, fields)
        given = [name for name in targets if document.get(name) is not None]
        if len(given) != 1:
            raise v2_refuse(400, f"Exactly one of {', '.join(targets)} must be given")
        if not document.get("body"):
            raise v2_refuse(400, "'body' is required")
        site = call.site
        parent: Comment | None = None
        if given[0] == "parentCommentId":
            parent = _visible(call, int(document["parentCommentId"]), inline)
            container, kind = parent.container, parent.container_kind
            top = owner_of(call, parent)
        elif given[0] == "attachmentId":
            attachment = visible_attachment(call, document["attachmentId"])
            container, kind, top = attachment.id, "attachment", site.content[attachment.container]
        elif given[0] == "customContentId":
            raise v2_missing("custom content")
        else:
            top = call.v2_content(int(document[given[0]]), "page" if given[0] == "pageId" else "blogpost")
            container, kind = top.id, top.kind
        assert top is not None
        if top.status != "current":
            raise v2_missing()
        call.v2_may(site.spaces[top.space], ("create", "comment"))
        selection, match = None, 0
        if inline and parent is None:
            selection, match = _selection(document.get("inlineCommentProperties"), top)
        elif inline and document.get("inlineCommentProperties") is not None:
            raise v2_refuse(400, "'inlineCommentProperties' is only for top-level inline comments")
        body = stored(document)
        moment = now()
        comment = Comment(
            site.new_id(), inline, container, kind, body, account.id, moment, Version(1, account.id, moment)
        )
        if selection is not None:
            comment.selection, comment.match = selection, match
            comment.marker = str(uuid.uuid5(NAMESPACE, f"{site.name} {comment.id}"))
        site.comments[comment.id] = comment
        if parent is not None:
            comment.parent = parent.id
            parent.children.append(comment.id)
        elif kind == "attachment":
            site.attachments[container].comments.append(comment.id)
        else:
            top.comments.append(comment.id)
        where = f"{site.identity(top)}" + (
            f" attachment {site.attachments[container].filename}" if kind == "attachment" else ""
        )
        label = "inline comment" if inline else "footer comment"
        above = f" below {digest(parent.body)}" if parent is not None else ""
        call.request.did("created", "comment", comment.id, f"{label} on {where}{above} {digest(body)}")
        return answer(_comment_doc(call, comment, "storage"), 201)

    return create


def _selection(properties: Document | None, content: Content) -> tuple[str, int]:
    """The selected text, which must occur as often as the request says. Raises 400."""
    if not properties or any(
        properties.get(name) is None for name in ("textSelection", "textSelectionMatchCount", "textSelectionMatchIndex")
    ):
        raise v2_refuse(400, "'inlineCommentProperties' must hold textSelection, textSelectionMatchCount and …Index")
    selection, count, index = (
        str(properties["textSelection"]),
        int(properties["textSelectionMatchCount"]),
        int(properties["textSelectionMatchIndex"]),
    )
    found = rendered_text(content.body).count(selection)
    if not found:
        raise v2_refuse(400, "Text selection does not occur in the content")
    if count != found or not 0 <= index < count:
        raise v2_refuse(400, f"Text selection occurs {found} times; match count or index disagree")
    return selection, index


def _read(inline: bool) -> Handler:
    def read(call: Call) -> Answer:
        flags = rules.bools(
            "include-properties", "include-operations", "include-likes", "include-versions", "include-version"
        )
        rules.v2_query(call.request, {"body-format": FORMATS, "version": None, **flags})
        comment = _visible(call, v2_id(call.params[0], "comment"), inline)
        asked = call.request.get("version")
        if asked is not None and v2_id(asked, "version") != comment.version.number:
            raise v2_missing("version")
        return answer(_comment_doc(call, comment, call.request.get("body-format")))

    return read


def _update(inline: bool) -> Handler:
    def update(call: Call) -> Answer:
        account = call.user()
        document = rules.v2_json(call.request, rules.COMMENT_UPDATE if inline else rules.FOOTER_UPDATE)
        comment = _visible(call, v2_id(call.params[0], "comment"), inline)
        if document.get("version") is None:
            raise v2_refuse(400, "'version' is required")
        if not document.get("body"):
            raise v2_refuse(400, "'body' is required")
        owner = owner_of(call, comment)
        assert owner is not None
        if comment.author != account.id:
            call.v2_may(call.site.spaces[owner.space], ("administer", "space"))
        number = document["version"]["number"]
        if number != comment.version.number + 1:
            raise v2_refuse(
                409,
                f"Version must be incremented on update. Current version: {comment.version.number}",
                "CONFLICT",
            )
        comment.body = stored(document)
        comment.version = Version(number, account.id, now(), document["version"].get("message") or "")
        resolved = document.get("resolved")
        if resolved is not None:
            if comment.parent is not None:
                raise v2_refuse(400, "Only top-level inline comments can be resolved")
            comment.resolution = "resolved" if resolved else "reopened"
            comment.resolved_by = account.id
        call.request.did("updated", "comment", comment.id, f"comment on {call.site.identity(owner)}")
        return answer(_comment_doc(call, comment, "storage"))

    return update


def _delete(inline: bool) -> Handler:
    def delete(call: Call) -> Answer:
        account = call.user()
        site = call.site
        comment = _visible(call, v2_id(call.params[0], "comment"), inline)
        owner = owner_of(call, comment)
        assert owner is not None
        if comment.author != account.id:
            call.v2_may(site.spaces[owner.space], ("delete", "comment"))
        if comment.parent is not None:
            site.comments[comment.parent].children.remove(comment.id)
        elif comment.container_kind == "attachment":
            site.attachments[comment.container].comments.remove(comment.id)
        else:
            owner.comments.remove(comment.id)
        remove_comments(site, [comment.id])
        call.request.did("deleted", "comment", comment.id, f"comment on {site.identity(owner)}")
        return Answer(204)

    return delete


def _replies(inline: bool) -> Handler:
    def replies(call: Call) -> Answer:
        rules.v2_query(call.request, LISTED_COMMENTS)
        comment = _visible(call, v2_id(call.params[0], "comment"), inline)
        return listed_comments(call, comment.children)

    return replies


def listed_comments(call: Call, ids: list[int]) -> Answer:
    wanted = call.request.get("body-format")
    comments = [call.site.comments[id_] for id_ in ids]
    sort = call.request.get("sort") or "created-date"
    if "modified" in sort:
        comments.sort(key=lambda comment: (comment.version.created, comment.id))
    if sort.startswith("-"):
        comments.reverse()
    return call.v2_list(comments, lambda comment: _comment_doc(call, comment, wanted))


def _of_content(kind: str, inline: bool) -> Handler:
    allowed = {**_LIST, "resolution-status": ("open", "reopened", "resolved", "dangling")} if inline else _LIST

    def comments(call: Call) -> Answer:
        rules.v2_query(call.request, allowed)
        if kind == "attachment":
            ids = visible_attachment(call, call.params[0]).comments
        else:
            content = call.v2_content(v2_id(call.params[0]), "page" if kind == "page" else "blogpost")
            ids = content.comments
        states = call.request.all("resolution-status")
        found = [id_ for id_ in ids if call.site.comments[id_].inline is inline]
        if states:
            found = [id_ for id_ in found if call.site.comments[id_].resolution in states]
        return listed_comments(call, found)

    return comments


def attachment_doc(call: Call, attachment: Attachment, number: int | None = None) -> Document:
    blob = next((item for item in attachment.versions if item.number == number), attachment.versions[-1])
    content = call.site.content[attachment.container]
    download = (
        f"/rest/api/content/{content.id}/child/attachment/att{attachment.id}/download"
        if number is None
        else f"/rest/api/content/{content.id}/child/attachment/att{attachment.id}/download?version={number}"
    )
    webui = f"/pages/viewpageattachments.action?pageId={content.id}&preview=%2F{content.id}%2F{attachment.id}"
    return {
        "id": f"att{attachment.id}",
        "status": attachment.status,
        "title": attachment.filename,
        "createdAt": blob.created,
        ("pageId" if content.kind == "page" else "blogPostId"): str(content.id),
        "mediaType": blob.media_type,
        "mediaTypeDescription": "",
        "comment": blob.comment,
        "fileId": attachment.file_id,
        "fileSize": blob.size,
        "webuiLink": webui,
        "downloadLink": download,
        "version": {
            "number": blob.number,
            "message": blob.comment,
            "minorEdit": blob.minor,
            "authorId": blob.author,
            "createdAt": blob.created,
        },
        "_links": {"webui": webui, "download": download},
    }


def _attachments(kind: str) -> Handler:
    def attachments(call: Call) -> Answer:
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
        content = call.v2_content(v2_id(call.params[0]), "page" if kind == "page" else "blogpost")
        filename, media_type = call.request.get("filename"), call.request.get("mediaType")
        found = [
            attachment
            for id_ in content.attachments.values()
            if (attachment := call.site.attachments[id_]).filename == (filename or attachment.filename)
            and attachment.versions[-1].media_type == (media_type or attachment.versions[-1].media_type)
        ]
        return call.v2_list(found, lambda attachment: attachment_doc(call, attachment))

    return attachments


def _attachment(call: Call) -> Answer:
    flags = rules.bools(
        "include-labels",
        "include-properties",
        "include-operations",
        "include-versions",
        "include-version",
        "include-collaborators",
    )
    rules.v2_query(call.request, {"version": None, **flags})
    attachment = visible_attachment(call, call.params[0])
    asked = call.request.get("version")
    if asked is None:
        return answer(attachment_doc(call, attachment))
    number = v2_id(asked, "version")
    if all(blob.number != number for blob in attachment.versions):
        raise v2_missing("version")
    return answer(attachment_doc(call, attachment, number))


def _attachment_versions(call: Call) -> Answer:
    rules.v2_query(call.request, {"cursor": None, "limit": None, "sort": ("modified-date", "-modified-date")})
    attachment = visible_attachment(call, call.params[0])
    oldest_first = call.request.get("sort") == "modified-date"
    return call.v2_list(
        attachment.versions if oldest_first else list(reversed(attachment.versions)),
        lambda blob: {
            "number": blob.number,
            "message": blob.comment,
            "minorEdit": blob.minor,
            "authorId": blob.author,
            "createdAt": blob.created,
            "attachment": {"id": f"att{attachment.id}", "title": attachment.filename},
        },
    )


def _delete_attachment(call: Call) -> Answer:
    rules.v2_query(call.request, rules.bools("purge"))
    account = call.user()
    attachment = visible_attachment(call, call.params[0])
    content = call.site.content[attachment.container]
    if attachment.versions[0].author != account.id:
        call.v2_may(call.site.spaces[content.space], ("delete", "attachment"))
    del content.attachments[attachment.filename]
    del call.site.attachments[attachment.id]
    remove_comments(call.site, attachment.comments)
    call.request.did(
        "deleted", "attachment", attachment.id, f"attachment {attachment.filename} on {call.site.identity(content)}"
    )
    return Answer(204)


ROUTES: list[Route] = [
    ("GET", f"{V2}/attachments/{{id}}", _attachment),
    ("DELETE", f"{V2}/attachments/{{id}}", _delete_attachment),
    ("GET", f"{V2}/attachments/{{id}}/versions", _attachment_versions),
    ("GET", f"{V2}/attachments/{{id}}/footer-comments", _of_content("attachment", False)),
]
for _kind, _name in (("page", "pages"), ("blogpost", "blogposts")):
    ROUTES += [
        ("GET", f"{V2}/{_name}/{{id}}/footer-comments", _of_content(_kind, False)),
        ("GET", f"{V2}/{_name}/{{id}}/inline-comments", _of_content(_kind, True)),
        ("GET", f"{V2}/{_name}/{{id}}/attachments", _attachments(_kind)),
    ]
for _inline, _name in ((False, "footer-comments"), (True, "inline-comments")):
    ROUTES += [
        ("POST", f"{V2}/{_name}", _create(_inline)),
        ("GET", f"{V2}/{_name}/{{id}}", _read(_inline)),
        ("PUT", f"{V2}/{_name}/{{id}}", _update(_inline)),
        ("DELETE", f"{V2}/{_name}/{{id}}", _delete(_inline)),
        ("GET", f"{V2}/{_name}/{{id}}/children", _replies(_inline)),
    ]
