"""v1: what v2 cannot write: order of pages, attachments, labels, restrictions, watches."""

import hashlib
import hmac
import uuid
from typing import Any
from urllib.parse import quote

from sandbox.cloud.call import V1, Call, Route
from sandbox.cloud.rules import v1_json, v1_refuse
from sandbox.cloud.state import NAMESPACE, Attachment, Blob, Content, Restriction, Site, now
from sandbox.cloud.v1_labels import add_labels, label_results
from sandbox.cloud.v2_content import take_out
from sandbox.wire import Answer, Document, Part, Refusal, Request, answer, parse_form


def _xsrf(call: Call) -> None:
    if call.request.headers.get("x-atlassian-token", "").lower() not in ("no-check", "nocheck"):
        raise Refusal(Answer(403, b"XSRF check failed", "text/plain;charset=UTF-8"))


def _editable(call: Call, text: str) -> Content:
    call.v1_member()
    content = call.v1_content(text)
    if not call.site.edits(call.account, content):
        raise v1_refuse(403, f"User not permitted to edit content with id {text}")
    return content


# order


def _move(call: Call) -> Answer:
    page = _editable(call, call.params[0])
    position = call.params[1]
    site = call.site
    if position not in ("before", "after", "append"):
        raise v1_refuse(400, f"Invalid position {position}")
    target = call.v1_content(call.params[2])
    if page.kind != "page" or target.kind != "page" or target.status != "current" or page.status != "current":
        raise v1_refuse(400, "Only current pages can be moved, relative to current pages")
    if site.is_below(target, page.id):
        raise v1_refuse(400, "A page cannot be moved to itself or below itself")
    if target.space != page.space:
        raise v1_refuse(400, "Pages are moved within their space here")
    site.detach(page)
    if position == "append":
        page.parent = target.id
        site.attach(page)
    else:
        page.parent = target.parent
        siblings = site.siblings(page)
        siblings.insert(siblings.index(target.id) + (position == "after"), page.id)
        for index, id_ in enumerate(siblings):
            site.content[id_].position = index
    call.request.did("updated", "page", page.id, f"position of {site.identity(page)}")
    return answer({"pageId": str(page.id)})


# attachments


def _attachment_doc(call: Call, attachment: Attachment, blob: Blob) -> Document:
    content = call.site.content[attachment.container]
    author = call.site.accounts[blob.author]
    base = f"{call.request.origin}/wiki"
    download = f"/rest/api/content/{content.id}/child/attachment/att{attachment.id}/download"
    return {
        "id": f"att{attachment.id}",
        "type": "attachment",
        "status": attachment.status,
        "title": attachment.filename,
        "version": {
            "number": blob.number,
            "message": blob.comment,
            "minorEdit": blob.minor,
            "when": blob.created,
            "by": {"type": "known", "accountId": author.id, "displayName": author.name},
        },
        "container": {"id": str(content.id), "type": content.kind, "status": content.status, "title": content.title},
        "metadata": {"comment": blob.comment, "mediaType": blob.media_type},
        "extensions": {
            "mediaType": blob.media_type,
            "fileSize": blob.size,
            "comment": blob.comment,
            "mediaTypeDescription": "",
            "fileId": attachment.file_id,
            "collectionName": f"contentId-{content.id}",
        },
        "_expandable": {},
        "_links": {
            "webui": f"/pages/viewpageattachments.action?pageId={content.id}",
            "self": f"{base}/rest/api/content/att{attachment.id}",
            "download": download,
        },
    }


def _parts(call: Call) -> tuple[list[Part], list[str], bool]:
    """Files, their comments and minorEdit of the form. Raises 415 and 400, also where the site has no storage left."""
    if call.site.storage_full:
        raise v1_refuse(400, "The storage limit of the site is reached")
    kind = call.request.headers.get("content-type", "")
    if not kind.startswith("multipart/form-data"):
        raise Refusal(answer({"statusCode": 415, "message": "Unsupported Media Type"}, 415))
    try:
        parts = parse_form(kind, call.request.body)
    except ValueError as error:
        raise v1_refuse(400, f"The form cannot be read: {error}") from error
    files = [part for part in parts if part.name == "file" and part.filename is not None]
    if not files:
        raise v1_refuse(400, "At least one file is required")
    if any(not part.filename or len(part.filename) > 255 for part in files):
        raise v1_refuse(400, "A file needs a name of at most 255 characters")
    comments = [part.data.decode("utf-8", "replace") for part in parts if part.name == "comment"]
    minor = any(part.name == "minorEdit" and part.data.strip() == b"true" for part in parts)
    return files, comments, minor


def _store(call: Call, content: Content, part: Part, comment: str, minor: bool) -> tuple[Attachment, Blob]:
    site, account = call.site, call.v1_user()
    name = part.filename or ""
    known = content.attachments.get(name)
    if known is None:
        id_ = site.new_id()
        file_id = str(uuid.uuid5(NAMESPACE, f"{site.name} file {id_}"))
        attachment = Attachment(id_, content.id, name, file_id, [])
        site.attachments[id_] = attachment
        content.attachments[name] = id_
    else:
        attachment = site.attachments[known]
    sha = site.store(part.data)
    number = attachment.versions[-1].number + 1 if attachment.versions else 1
    media = part.content_type.split(";")[0].strip() or "application/octet-stream"
    blob = Blob(number, sha, len(part.data), media, comment, account.id, now(), minor)
    attachment.versions.append(blob)
    identity = f"attachment {name} on {site.identity(content)}"
    if known is None:
        call.request.did("created", "attachment", attachment.id, identity)
    else:
        call.request.did("updated", "attachment", attachment.id, identity)
    call.request.did("created", "attachment-version", attachment.id, f"{identity} version {number} {sha[:16]}")
    return attachment, blob


def _upload(replace: bool) -> Any:
    def upload(call: Call) -> Answer:
        _xsrf(call)
        call.v1_member()
        content = call.v1_content(call.params[0])
        call.v1_may(call.site.spaces[content.space], ("create", "attachment"))
        files, comments, minor = _parts(call)
        names = [part.filename or "" for part in files]
        if not replace:
            for name in names:
                if name in content.attachments:
                    raise v1_refuse(
                        400, f"Cannot add a new attachment with same file name as an existing attachment: {name}"
                    )
            if len(set(names)) != len(names):
                raise v1_refuse(400, "Cannot add two attachments with the same file name")
        stored = [
            _store(call, content, part, comments[index] if index < len(comments) else "", minor)
            for index, part in enumerate(files)
        ]
        results = [_attachment_doc(call, attachment, blob) for attachment, blob in stored]
        return answer(
            {
                "results": results,
                "start": 0,
                "limit": 50,
                "size": len(results),
                "_links": {"base": f"{call.request.origin}/wiki", "context": "/wiki"},
            }
        )

    return upload


def _attachment(call: Call, content: Content, text: str) -> Attachment:
    number = text.removeprefix("att")
    attachment = call.site.attachments.get(int(number)) if number.isdecimal() and len(number) < 20 else None
    if attachment is None or attachment.container != content.id:
        raise v1_refuse(404, f"No attachment with id {text} on content {content.id}")
    return attachment


def _new_version(call: Call) -> Answer:
    _xsrf(call)
    call.v1_member()
    content = call.v1_content(call.params[0])
    call.v1_may(call.site.spaces[content.space], ("create", "attachment"))
    attachment = _attachment(call, content, call.params[1])
    files, comments, minor = _parts(call)
    if len(files) != 1:
        raise v1_refuse(400, "Exactly one file is required")
    files[0].filename = attachment.filename
    stored, blob = _store(call, content, files[0], comments[0] if comments else "", minor)
    return answer(_attachment_doc(call, stored, blob))


def _attachments(call: Call) -> Answer:
    content = call.v1_content(call.params[0])
    name = call.request.get("filename")
    found = [call.site.attachments[id_] for known, id_ in content.attachments.items() if name in (None, known)]
    return call.v1_list(found, lambda item: _attachment_doc(call, item, item.versions[-1]), default=50)


def _download(call: Call) -> Answer:
    """A redirect to the media service, signed for ten minutes. Source: reference of Cloud, attachment download."""
    content = call.v1_content(call.params[0])
    attachment = _attachment(call, content, call.params[1])
    asked = call.request.get("version")
    blob = attachment.versions[-1]
    if asked is not None:
        found = [item for item in attachment.versions if str(item.number) == asked]
        if not found:
            raise v1_refuse(404, f"No version {asked} of attachment {call.params[1]}")
        blob = found[0]
    location = media_path(call.site, attachment, blob)
    return Answer(302, headers=[("Location", f"{call.site.media_base}{location}")])


def _signature(site: Site, file_id: str, number: int) -> str:
    return hmac.new(site.cloud_id.encode(), f"{file_id}/{number}".encode(), hashlib.sha256).hexdigest()


def media_path(site: Site, attachment: Attachment, blob: Blob) -> str:
    token = _signature(site, attachment.file_id, blob.number)
    return f"/{quote(site.name)}/file/{attachment.id}/{blob.number}/binary?token={token}"


def media_answer(site: Site, request: Request, attachment_id: str, number: str) -> Answer:
    """What the media service answers. A request that still carries credentials is refused, as a signed store does."""
    if "authorization" in request.headers:
        return answer({"error": {"code": "InvalidArgument", "title": "Only one authentication mechanism allowed"}}, 400)
    attachment = site.attachments.get(int(attachment_id)) if attachment_id.isdecimal() else None
    blob = next((item for item in attachment.versions if str(item.number) == number), None) if attachment else None
    if attachment is None or blob is None:
        return answer({"error": {"code": "NotFound"}}, 404)
    if not hmac.compare_digest(request.get("token") or "", _signature(site, attachment.file_id, blob.number)):
        return answer({"error": {"code": "Forbidden"}}, 403)
    disposition = f"attachment; filename*=UTF-8''{quote(attachment.filename)}"
    return Answer(200, site.blobs[blob.sha256], blob.media_type, [("Content-Disposition", disposition)])


# labels


def _labels(call: Call) -> Answer:
    content = call.v1_content(call.params[0])
    prefix = call.request.get("prefix")
    return answer(
        label_results(call, {label: id_ for label, id_ in content.labels.items() if prefix in (None, label[0])})
    )


def _add_labels(call: Call) -> Answer:
    text = call.params[0]
    if text.startswith("att"):
        call.v1_member()
        attachment = call.site.attachments.get(int(text[3:])) if text[3:].isdecimal() else None
        if attachment is None:
            raise v1_refuse(404, f"No content found with id: ContentId{{id={text}}}")
        content = _editable(call, str(attachment.container))
        add_labels(
            call, attachment.labels, ("global",), f"attachment {attachment.filename} on {call.site.identity(content)}"
        )
        return answer(label_results(call, attachment.labels))
    content = _editable(call, text)
    add_labels(call, content.labels, ("global", "my"), call.site.identity(content))
    return answer(label_results(call, content.labels))


def _remove_label(call: Call) -> Answer:
    content = _editable(call, call.params[0])
    name = call.params[1] if len(call.params) > 1 else call.request.get("name") or ""
    prefix, _, rest = name.rpartition(":")
    id_ = content.labels.pop((prefix or "global", rest.lower()), None)
    if id_ is None:
        raise v1_refuse(404, f"Content does not have the label {name}")
    call.request.did("deleted", "label", id_, f"label {name} on {call.site.identity(content)}")
    return Answer(204)


# restrictions


def _restriction_doc(call: Call, content: Content, operation: str) -> Document:
    restriction = (content.read if operation == "read" else content.update) or Restriction()
    users = [
        {"type": "known", "accountId": id_, "displayName": call.site.accounts[id_].name} for id_ in restriction.users
    ]
    known = [call.site.groups[id_] for id_ in restriction.groups if id_ in call.site.groups]
    groups = [{"type": "group", "id": group.id, "name": group.name} for group in known]
    return {
        "operation": operation,
        "restrictions": {
            "user": {"results": users, "start": 0, "limit": 200, "size": len(users)},
            "group": {"results": groups, "start": 0, "limit": 200, "size": len(groups)},
        },
        "_expandable": {"content": f"/rest/api/content/{content.id}"},
        "_links": {
            "self": f"{call.request.origin}/wiki/rest/api/content/{content.id}/restriction/byOperation/{operation}"
        },
    }


def _restrictions(call: Call, content: Content) -> Answer:
    results = [_restriction_doc(call, content, operation) for operation in ("read", "update")]
    return answer(
        {
            "results": results,
            "start": 0,
            "limit": 100,
            "size": len(results),
            "restrictionsHash": "",
            "_links": {"base": f"{call.request.origin}/wiki", "context": "/wiki"},
        }
    )


def _get_restrictions(call: Call) -> Answer:
    return _restrictions(call, call.v1_content(call.params[0]))


def _by_operation(call: Call) -> Answer:
    content = call.v1_content(call.params[0])
    if len(call.params) > 1:
        if call.params[1] not in ("read", "update"):
            raise v1_refuse(404, f"No restriction for operation {call.params[1]}")
        return answer(_restriction_doc(call, content, call.params[1]))
    return answer({operation: _restriction_doc(call, content, operation) for operation in ("read", "update")})


def _restrictable(call: Call) -> Content:
    content = _editable(call, call.params[0])
    call.v1_may(call.site.spaces[content.space], ("restrict_content", "space"))
    return content


def _subjects(call: Call, value: Any, kind: str) -> dict[str, None]:
    if isinstance(value, dict):
        value = value.get("results")
    found: dict[str, None] = {}
    for item in value or []:
        id_ = None
        if isinstance(item, dict) and kind == "user":
            id_ = item.get("accountId") if item.get("type") in ("known", "user") else None
            id_ = id_ if id_ in call.site.accounts else None
        elif isinstance(item, dict) and item.get("type", "group") == "group":
            named = call.site.group_names.get(str(item.get("name", "")).lower())
            id_ = item.get("id") if item.get("id") in call.site.groups else (named.id if named else None)
        if id_ is None:
            raise v1_refuse(400, f"Invalid {kind} in restriction: {item}")
        found[id_] = None
    return found


def _put_restrictions(call: Call) -> Answer:
    content = _restrictable(call)
    document = v1_json(call.request)
    if isinstance(document, dict):
        document = document.get("results")
    if not isinstance(document, list):
        raise v1_refuse(400, "A list of restrictions is required")
    wanted: dict[str, Restriction] = {}
    for item in document:
        operation = item.get("operation") if isinstance(item, dict) else None
        if operation not in ("read", "update") or not isinstance(item.get("restrictions"), dict):
            raise v1_refuse(400, "A restriction needs an operation (read, update) and restrictions")
        inner = item["restrictions"]
        wanted[operation] = Restriction(
            _subjects(call, inner.get("user"), "user"), _subjects(call, inner.get("group"), "group")
        )
    content.read = wanted.get("read") or None
    content.update = wanted.get("update") or None
    call.request.did("updated", "restriction", content.id, f"restriction of {call.site.identity(content)}")
    return _restrictions(call, content)


def _drop_restrictions(call: Call) -> Answer:
    content = _restrictable(call)
    content.read = content.update = None
    call.request.did("deleted", "restriction", content.id, f"restriction of {call.site.identity(content)}")
    return _restrictions(call, content)


def _one(call: Call) -> tuple[Content, str, str, bool]:
    """Content, operation, and the user or group that the request names."""
    content = call.v1_content(call.params[0])
    operation = call.params[1]
    if operation not in ("read", "update"):
        raise v1_refuse(404, f"No restriction for operation {operation}")
    if len(call.params) > 2:
        if call.params[2] not in call.site.groups:
            raise v1_refuse(404, f"No group with id {call.params[2]}")
        return content, operation, call.params[2], True
    account = call.request.get("accountId") or ""
    if account not in call.site.accounts:
        raise v1_refuse(404, f"No user with account id {account}")
    return content, operation, account, False


def _has_one(call: Call) -> Answer:
    content, operation, id_, group = _one(call)
    restriction = (content.read if operation == "read" else content.update) or Restriction()
    if id_ not in (restriction.groups if group else restriction.users):
        raise v1_refuse(404, "Not restricted")
    return answer({"accountId": id_} if not group else {"id": id_})


def _change_one(add: bool) -> Any:
    def change(call: Call) -> Answer:
        _restrictable(call)
        content, operation, id_, group = _one(call)
        restriction = (content.read if operation == "read" else content.update) or Restriction()
        subjects = restriction.groups if group else restriction.users
        if add:
            subjects[id_] = None
        elif id_ in subjects:
            del subjects[id_]
        else:
            raise v1_refuse(404, "Not restricted")
        if operation == "read":
            content.read = restriction or None
        else:
            content.update = restriction or None
        call.request.did("updated", "restriction", content.id, f"restriction of {call.site.identity(content)}")
        return answer({})

    return change


# watches


def _watch_target(call: Call) -> tuple[dict[str, None], str, str]:
    caller = call.v1_member()
    wanted = call.request.get("accountId") or caller.id
    if wanted != caller.id and not call.site.is_admin(caller):
        raise v1_refuse(403, "Only administrators may change watches of others")
    if wanted not in call.site.accounts:
        raise v1_refuse(404, f"No user with account id {wanted}")
    if "/watch/space/" in call.request.route:
        space = call.v1_space(call.params[0])
        return space.watchers, wanted, f"space {space.key}"
    content = call.v1_content(call.params[0])
    return content.watchers, wanted, call.site.identity(content)


def _watch(call: Call) -> Answer:
    _xsrf(call)
    watchers, account, identity = _watch_target(call)
    watchers[account] = None
    call.request.did("updated", "watch", account, f"watch of {account} on {identity}")
    return Answer(204)


def _unwatch(call: Call) -> Answer:
    _xsrf(call)
    watchers, account, identity = _watch_target(call)
    watchers.pop(account, None)
    call.request.did("deleted", "watch", account, f"watch of {account} on {identity}")
    return Answer(204)


def _is_watching(call: Call) -> Answer:
    watchers, account, _ = _watch_target(call)
    return answer({"watching": account in watchers})


def _archive(call: Call) -> Answer:
    call.v1_member()
    document = v1_json(call.request)
    pages = document.get("pages") if isinstance(document, dict) else None
    if not isinstance(pages, list) or not pages:
        raise v1_refuse(400, "pages is required")
    found = [_editable(call, str(item.get("id", "")) if isinstance(item, dict) else "") for item in pages]
    for page in found:
        call.v1_may(call.site.spaces[page.space], ("archive", "page"))
        if page.kind != "page" or page.status != "current":
            raise v1_refuse(400, f"Page {page.id} is not current")
    for page in found:
        take_out(call.site, page)
        page.status = "archived"
        call.site.title_key(call.site.spaces[page.space], page)
        call.request.did("updated", "page", page.id, call.site.identity(page))
    task = str(uuid.UUID(int=call.site.new_id()))
    call.site.tasks[task] = {"id": task, "name": {"key": "archive", "args": []}, "elapsedTime": 1} | {
        "percentageComplete": 100,
        "successful": True,
        "finished": True,
        "messages": [],
    }
    return answer({"id": task, "links": {"status": f"/rest/api/longtask/{task}"}}, 202)


_ID = f"{V1}/content/{{id}}"
_OPERATION = f"{_ID}/restriction/byOperation/{{operationKey}}"
ROUTES: list[Route] = [
    ("PUT", f"{V1}/content/{{pageId}}/move/{{position}}/{{targetId}}", _move),
    ("POST", f"{V1}/content/archive", _archive),
    ("GET", f"{_ID}/child/attachment", _attachments),
    ("POST", f"{_ID}/child/attachment", _upload(False)),
    ("PUT", f"{_ID}/child/attachment", _upload(True)),
    ("POST", f"{_ID}/child/attachment/{{attachmentId}}/data", _new_version),
    ("GET", f"{_ID}/child/attachment/{{attachmentId}}/download", _download),
    ("GET", f"{_ID}/label", _labels),
    ("POST", f"{_ID}/label", _add_labels),
    ("DELETE", f"{_ID}/label", _remove_label),
    ("DELETE", f"{_ID}/label/{{label}}", _remove_label),
    ("GET", f"{_ID}/restriction", _get_restrictions),
    ("PUT", f"{_ID}/restriction", _put_restrictions),
    ("DELETE", f"{_ID}/restriction", _drop_restrictions),
    ("GET", f"{_ID}/restriction/byOperation", _by_operation),
    ("GET", _OPERATION, _by_operation),
    ("GET", f"{_OPERATION}/user", _has_one),
    ("PUT", f"{_OPERATION}/user", _change_one(True)),
    ("DELETE", f"{_OPERATION}/user", _change_one(False)),
    ("GET", f"{_OPERATION}/byGroupId/{{groupId}}", _has_one),
    ("PUT", f"{_OPERATION}/byGroupId/{{groupId}}", _change_one(True)),
    ("DELETE", f"{_OPERATION}/byGroupId/{{groupId}}", _change_one(False)),
]
for _where in ("content/{contentId}", "space/{spaceKey}"):
    ROUTES += [
        ("GET", f"{V1}/user/watch/{_where}", _is_watching),
        ("POST", f"{V1}/user/watch/{_where}", _watch),
        ("DELETE", f"{V1}/user/watch/{_where}", _unwatch),
    ]
