"""v2: pages and blog posts."""

from collections.abc import Iterable
from datetime import UTC, datetime

from sandbox.cloud import rules
from sandbox.cloud.call import V2, Call, Handler, Route, webui
from sandbox.cloud.rules import true, v2_id, v2_refuse
from sandbox.cloud.state import Account, Content, Kind, Property, Restriction, Site, Space, Version, now
from sandbox.cloud.storage import Malformed, as_adf, as_storage
from sandbox.wire import Answer, Document, answer

SORTS = ("id", "-id", "created-date", "-created-date", "modified-date", "-modified-date", "title", "-title")
LISTED = ("storage", "atlas_doc_format")
FORMATS = (*LISTED, "view", "export_view", "anonymous_export_view", "styled_view", "editor")
STATUSES = ("current", "archived", "deleted", "trashed", "historical", "draft", "any")


def version_doc(version: Version) -> Document:
    return {
        "number": version.number,
        "message": version.message,
        "minorEdit": version.minor,
        "authorId": version.author,
        "createdAt": version.created,
        "ncsStepVersion": None,
    }


def body_doc(body: str, wanted: str | None) -> Document:
    if wanted is None:
        return {}
    value = as_adf(body) if wanted == "atlas_doc_format" else body
    return {wanted: {"representation": wanted, "value": value}}


def content_doc(call: Call, content: Content, wanted: str | None = None, base: bool = True) -> Document:
    site = call.site
    shown = webui(site, content)
    links = {
        "editui": f"/pages/resumedraft.action?draftId={content.id}",
        "webui": shown,
        "edituiv2": f"/spaces/{site.spaces[content.space].key}/pages/edit-v2/{content.id}",
        "tinyui": f"/x/{content.id:x}",
    }
    if base:
        links["base"] = f"{call.request.origin}/wiki"
    document: Document = {
        "id": str(content.id),
        "status": content.status,
        "title": content.title,
        "spaceId": str(content.space),
        "authorId": content.author,
        "createdAt": content.created,
        "version": version_doc(content.version),
        "body": body_doc(content.body, wanted),
        "_links": links,
    }
    if content.kind == "page":
        document["parentId"] = str(content.parent) if content.parent is not None else None
        document["parentType"] = "page" if content.parent is not None else None
        document["position"] = content.position
        document["ownerId"] = content.owner
        document["lastOwnerId"] = None
    return document


def stored(document: Document) -> str:
    """The body of a request in storage format. Raises 400 where it cannot be one."""
    representation, value = rules.body_of(document)
    try:
        return as_storage(representation, value)
    except Malformed as error:
        raise v2_refuse(400, str(error)) from error


def _title(document: Document, status: str) -> str:
    title = str(document.get("title") or "").strip()
    if not title and status == "current":
        raise v2_refuse(400, "A title is required to publish content")
    if len(title) > 255:
        raise v2_refuse(400, "Title exceeds the maximum length of 255 characters")
    return title


def _free(site: Site, space: Space, kind: Kind, title: str, created: str, but: int | None = None) -> None:
    if title and site.taken(space, kind, title, created, but):
        if kind == "page":
            raise v2_refuse(
                400,
                "A page with this title already exists: A page already exists with the same TITLE in this space",
            )
        raise v2_refuse(
            400,
            "A blog post with this title already exists: A blog post already exists with the same TITLE on the same day",
        )


def _created_at(text: str | None) -> str:
    """``createdAt`` of a blog post. The documents give "yyyy-MM-ddTHH:mm:ss.SSSZ"."""
    if text is None:
        return now()
    try:
        moment = datetime.fromisoformat(text.replace("Z", "+00:00"))
    except ValueError as error:
        raise v2_refuse(400, "'createdAt' must be a date such as 2026-01-31T12:00:00.000Z") from error
    if moment.tzinfo is None:
        raise v2_refuse(400, "'createdAt' must name a time zone")
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"


def new_content(
    site: Site,
    space: Space,
    kind: Kind,
    title: str,
    body: str,
    author: Account,
    parent: int | None = None,
    status: str = "current",
    created: str | None = None,
) -> Content:
    """Put a page or blog post on the site, at the end of its siblings; the checks are the caller's."""
    moment = now()
    content = Content(
        site.new_id(),
        kind,
        space.id,
        title,
        body,
        status,
        author.id,
        author.id,
        created or moment,
        Version(1, author.id, moment),
        parent,
    )
    site.content[content.id] = content
    if title:
        site.title_key(space, content)
    if kind == "page":
        space.pages.append(content.id)
        site.attach(content)
    else:
        space.blogposts.append(content.id)
    return content


def _create_page(call: Call) -> Answer:
    rules.v2_query(call.request, rules.bools("embedded", "private", "root-level"))
    account = call.user()
    document = rules.v2_json(call.request, rules.PAGE_CREATE)
    site = call.site
    space = call.v2_space(int(document["spaceId"]))
    call.v2_may(space, ("create", "page"))
    status = document.get("status") or "current"
    title = _title(document, status)
    root = true(call.request, "root-level")
    parent = space.homepage
    if document.get("parentId") is not None:
        if root:
            raise v2_refuse(400, "'parentId' must not be given with root-level=true")
        parent = _parent(call, space, int(document["parentId"])).id
    elif root:
        parent = None
    body = stored(document)
    _free(site, space, "page", title, "")
    content = new_content(site, space, "page", title, body, account, parent, status)
    if true(call.request, "private"):
        _make_private(content, account)
    call.request.did("created", "page", content.id, site.identity(content))
    return answer(content_doc(call, content, "storage"))


def _parent(call: Call, space: Space, id_: int) -> Content:
    parent = call.v2_content(id_, "page")
    if parent.space != space.id:
        raise v2_refuse(400, "The parent page is in another space")
    if parent.status not in ("current", "draft"):
        raise v2_refuse(400, "The parent page is not current")
    return parent


def _make_private(content: Content, account: Account) -> None:
    content.read = Restriction(users={account.id: None})
    content.update = Restriction(users={account.id: None})


def _create_blogpost(call: Call) -> Answer:
    rules.v2_query(call.request, rules.bools("private"))
    account = call.user()
    document = rules.v2_json(call.request, rules.BLOGPOST_CREATE)
    site = call.site
    space = call.v2_space(int(document["spaceId"]))
    call.v2_may(space, ("create", "blogpost"))
    status = document.get("status") or "current"
    title = _title(document, status)
    created = _created_at(document.get("createdAt"))
    body = stored(document)
    _free(site, space, "blogpost", title, created)
    content = new_content(site, space, "blogpost", title, body, account, None, status, created)
    if true(call.request, "private"):
        _make_private(content, account)
    call.request.did("created", "blogpost", content.id, f"{site.identity(content)} {content.created[:10]}")
    return answer(content_doc(call, content, "storage"))


def _read(kind: Kind) -> Handler:
    flags = rules.bools(
        "get-draft",
        "include-labels",
        "include-properties",
        "include-operations",
        "include-likes",
        "include-versions",
        "include-version",
        "include-favorited-by-current-user-status",
        "include-webresources",
        "include-collaborators",
        "include-direct-children",
    )
    allowed: dict[str, tuple[str, ...] | None] = {"body-format": FORMATS, "status": STATUSES, "version": None, **flags}

    def read(call: Call) -> Answer:
        rules.v2_query(call.request, allowed)
        content = call.v2_content(v2_id(call.params[0]), kind)
        statuses = call.request.all("status") or ["current", "archived", "historical"]
        if content.status == "draft" and not true(call.request, "get-draft"):
            statuses = [status for status in statuses if status != "current"]
        elif content.status == "draft":
            statuses.append("draft")
        if content.status not in statuses and "any" not in statuses:
            raise rules.v2_missing(kind)
        wanted = call.request.get("body-format")
        document = content_doc(call, content, wanted)
        asked = call.request.get("version")
        if asked is not None:
            old = _version(content, v2_id(asked, "version"))
            document["title"], document["body"] = old.title, body_doc(old.body, wanted)
            document["version"] = version_doc(old)
            if old.number != content.version.number:
                document["status"] = "historical"
        if true(call.request, "include-labels"):
            document["labels"] = _included(
                [{"id": str(id_), "name": name, "prefix": prefix} for (prefix, name), id_ in content.labels.items()]
            )
        if true(call.request, "include-properties"):
            document["properties"] = _included([property_doc(item) for item in content.properties.values()])
        if true(call.request, "include-versions"):
            document["versions"] = _included([version_doc(version) for version in all_versions(content)])
        if true(call.request, "include-direct-children"):
            document["directChildren"] = _included(
                [_child_doc(child, index) for index, child in enumerate(_visible_children(call, content))]
            )
        return answer(document)

    return read


def _included(results: list[Document]) -> Document:
    return {"results": results, "meta": {"hasMore": False, "cursor": ""}, "_links": {"self": ""}}


def property_doc(item: Property) -> Document:
    return {"id": str(item.id), "key": item.key, "value": item.value, "version": version_doc(item.version)}


def all_versions(content: Content) -> list[Version]:
    """Newest first, with the title and body each had."""
    current = content.version
    newest = Version(
        current.number, current.author, current.created, current.message, current.minor, content.title, content.body
    )
    return [newest, *reversed(content.history)]


def _version(content: Content, number: int) -> Version:
    for version in all_versions(content):
        if version.number == number:
            return version
    raise rules.v2_missing("version")


def _remember(content: Content) -> None:
    version = content.version
    version.title, version.body = content.title, content.body
    content.history.append(version)


def _update(kind: Kind) -> Handler:
    fields = rules.PAGE_UPDATE if kind == "page" else rules.BLOGPOST_UPDATE

    def update(call: Call) -> Answer:
        rules.v2_query(call.request, {})
        account = call.user()
        id_ = v2_id(call.params[0])
        document = rules.v2_json(call.request, fields)
        site = call.site
        content = call.v2_content(id_, kind)
        if int(document["id"]) != id_:
            raise v2_refuse(400, "'id' in the body differs from the id in the path")
        if not site.edits(account, content):
            raise v2_refuse(404, f"Not permitted to update this {kind}", "NOT_FOUND")
        space = site.spaces[content.space]
        if document.get("spaceId") is not None and int(document["spaceId"]) != space.id:
            raise v2_refuse(400, "Content cannot be moved to another space by this operation")
        if document["status"] == "draft" and content.status != "draft":
            raise v2_refuse(400, "Published content cannot be made a draft")
        title = _title(document, document["status"])
        body = stored(document)
        number = document["version"]["number"]
        publishing = content.status == "draft"
        wanted = content.version.number if publishing else content.version.number + 1
        if number != wanted:
            raise v2_refuse(
                409,
                f"Version must be incremented when updating a {kind}. Current Version: [{content.version.number}]. "
                f"Provided version: [{number}]",
                "CONFLICT",
            )
        created = content.created
        if document.get("createdAt") is not None:
            created = _created_at(document["createdAt"])
        _free(site, space, kind, title, created, content.id)
        owner = document.get("ownerId")
        if owner is not None and owner not in site.accounts:
            raise v2_refuse(400, "'ownerId' is not a known account")
        if kind == "page" and document.get("parentId") is not None:
            parent = _parent(call, space, int(document["parentId"]))
            if site.is_below(parent, content.id):
                raise v2_refuse(400, "A page cannot be moved below itself")
            if parent.id != content.parent:
                site.detach(content)
                content.parent = parent.id
                site.attach(content)
        if content.status == "trashed":
            if kind == "page":
                site.attach(content)
        elif not publishing:
            _remember(content)
        site.drop_title(space, content)
        content.status = document["status"]
        content.title, content.body, content.created = title, body, created
        if title:
            site.title_key(space, content)
        content.owner = owner or content.owner
        content.version = Version(number, account.id, now(), document["version"].get("message") or "")
        call.request.did("updated", kind, content.id, site.identity(content))
        return answer(content_doc(call, content, "storage"))

    return update


def _retitle(call: Call) -> Answer:
    account = call.user()
    document = rules.v2_json(call.request, rules.TITLE_UPDATE)
    site = call.site
    content = call.v2_content(v2_id(call.params[0]), "page")
    if not site.edits(account, content):
        raise v2_refuse(404, "Not permitted to update this page", "NOT_FOUND")
    space = site.spaces[content.space]
    title = _title(document, document["status"])
    _free(site, space, "page", title, "", content.id)
    _remember(content)
    site.drop_title(space, content)
    content.title = title
    site.title_key(space, content)
    content.version = Version(content.version.number + 1, account.id, now())
    call.request.did("updated", "page", content.id, site.identity(content))
    return answer(content_doc(call, content))


def _delete(kind: Kind) -> Handler:
    def delete(call: Call) -> Answer:
        rules.v2_query(call.request, rules.bools("purge", "draft"))
        account = call.user()
        site = call.site
        content = call.v2_content(v2_id(call.params[0]), kind)
        space = site.spaces[content.space]
        own = content.author == account.id and site.allows(account, space, ("delete", "space"))
        if not own and not site.allows(account, space, ("delete", kind)):
            raise v2_refuse(404, f"Not permitted to delete this {kind}", "NOT_FOUND")
        purge = true(call.request, "purge")
        if purge and not site.allows(account, space, ("administer", "space")):
            raise v2_refuse(404, "Only administrators of the space may purge", "NOT_FOUND")
        if (content.status == "draft") != true(call.request, "draft"):
            raise v2_refuse(400, "draft=true deletes drafts, and only them")
        if purge != (content.status == "trashed"):
            raise v2_refuse(400, "Content must be in the trash to be purged, and trashed content can only be purged")
        identity = site.identity(content)
        if purge or content.status == "draft":
            if content.status == "draft":
                take_out(site, content)
            purge_content(site, content)
        else:
            take_out(site, content)
            content.status = "trashed"
        call.request.did("purged" if purge else "deleted", kind, content.id, identity)
        return Answer(204)

    return delete


def take_out(site: Site, content: Content) -> None:
    """Take live content out of tree and titles; its children move up to its parent."""
    site.drop_title(site.spaces[content.space], content)
    if content.kind == "page":
        site.detach(content)
        for child_id in content.children:
            child = site.content[child_id]
            child.parent = content.parent
            site.attach(child)
        content.children.clear()


def purge_content(site: Site, content: Content) -> None:
    """Remove content, its comments and attachments for good."""
    space = site.spaces[content.space]
    (space.pages if content.kind == "page" else space.blogposts).remove(content.id)
    del site.content[content.id]
    remove_comments(site, content.comments)
    for attachment in content.attachments.values():
        remove_comments(site, site.attachments.pop(attachment).comments)


def remove_comments(site: Site, ids: Iterable[int]) -> None:
    rest = list(ids)
    while rest:
        comment = site.comments.pop(rest.pop(), None)
        if comment is not None:
            rest.extend(comment.children)


def _list(kind: Kind, in_space: bool) -> Handler:
    allowed: dict[str, tuple[str, ...] | None] = {
        "sort": SORTS,
        "status": STATUSES,
        "title": None,
        "body-format": LISTED,
        "cursor": None,
        "limit": None,
    }
    if in_space:
        allowed["depth"] = ("all", "root")
    else:
        allowed |= {"id": None, "space-id": None, "subtype": ("live", "page")}

    def listing(call: Call) -> Answer:
        rules.v2_query(call.request, allowed)
        site = call.site
        statuses = call.request.all("status") or ["current", "archived"]
        title = call.request.get("title")
        wanted = call.request.get("body-format")
        if in_space:
            spaces = [call.v2_space(v2_id(call.params[0], "space"))]
        else:
            ids = rules.v2_ids(call.request, "space-id")
            spaces = [space for id_ in ids if (space := site.spaces.get(id_)) is not None]
            if not ids:
                spaces = list(site.spaces.values())
        only = set(rules.v2_ids(call.request, "id")) if not in_space else set()
        spaces = [space for space in spaces if site.sees_space(call.account, space)]
        root = call.request.get("depth") == "root"

        def look(id_: int) -> Content | None:
            content = site.content[id_]
            if only and id_ not in only:
                return None
            if content.status not in statuses or (title is not None and content.title.lower() != title.lower()):
                return None
            if root and content.parent is not None and content.id != site.spaces[content.space].homepage:
                return None
            return content if site.sees(call.account, content) else None

        def render(content: Content) -> Document:
            return content_doc(call, content, wanted, base=False)

        candidates: list[int] = []
        for space in spaces:
            if title is not None and kind == "page" and set(statuses) <= {"current", "archived"}:
                found = space.titles.get(title.lower())
                candidates += [found] if found is not None else []
            else:
                candidates += space.pages if kind == "page" else space.blogposts
        if len(spaces) > 1:
            candidates.sort()
        sort = call.request.get("sort") or "id"
        if sort == "id":
            return call.v2_by_id(candidates, look, render)
        items = [content for id_ in candidates if (content := look(id_)) is not None]
        items.sort(key=lambda content: _order(content, sort.lstrip("-")), reverse=sort.startswith("-"))
        return call.v2_list(items, render)

    return listing


def _order(content: Content, sort: str) -> tuple[str, int]:
    keys = {"created-date": content.created, "modified-date": content.version.created, "title": content.title.lower()}
    return keys.get(sort, ""), content.id


def _visible_children(call: Call, content: Content) -> list[Content]:
    children = (call.site.content[id_] for id_ in content.children)
    return [
        child for child in children if child.status in ("current", "archived") and call.site.sees(call.account, child)
    ]


def _child_doc(child: Content, index: int) -> Document:
    del index
    return {
        "id": str(child.id),
        "status": child.status,
        "title": child.title,
        "spaceId": str(child.space),
        "childPosition": child.position,
    }


def _children(with_type: bool) -> Handler:
    def children(call: Call) -> Answer:
        rules.v2_query(call.request, {"cursor": None, "limit": None, "sort": None})
        content = call.v2_content(v2_id(call.params[0]), "page")

        def render(child: Content) -> Document:
            document = _child_doc(child, 0)
            return document | {"type": "page"} if with_type else document

        return call.v2_list(_visible_children(call, content), render)

    return children


def _ancestors(call: Call) -> Answer:
    rules.v2_query(call.request, {"limit": None})
    content = call.v2_content(v2_id(call.params[0]), "page")
    found: list[Content] = []
    while content.parent is not None and content.parent in call.site.content:
        content = call.site.content[content.parent]
        found.insert(0, content)
    return call.v2_list(found[-call.v2_limit() :], lambda node: {"id": str(node.id), "type": node.kind})


def _descendants(call: Call) -> Answer:
    rules.v2_query(call.request, {"limit": None, "depth": None, "cursor": None})
    top = call.v2_content(v2_id(call.params[0]), "page")
    depth = v2_id(call.request.get("depth") or "5", "depth")
    found: list[tuple[Content, int]] = []

    def walk(node: Content, level: int) -> None:
        if level > depth:
            return
        for child in _visible_children(call, node):
            found.append((child, level))
            walk(child, level + 1)

    walk(top, 1)

    def render(item: tuple[Content, int]) -> Document:
        child, level = item
        document = _child_doc(child, 0)
        del document["spaceId"]
        return document | {"type": "page", "parentId": str(child.parent), "depth": level}

    return call.v2_list(found, render)


def _versions(kind: Kind) -> Handler:
    def versions(call: Call) -> Answer:
        rules.v2_query(
            call.request,
            {"body-format": LISTED, "cursor": None, "limit": None, "sort": ("modified-date", "-modified-date")},
        )
        content = call.v2_content(v2_id(call.params[0]), kind)
        wanted = call.request.get("body-format")

        def render(version: Version) -> Document:
            inner = {"id": str(content.id), "title": version.title, "body": body_doc(version.body, wanted)}
            return version_doc(version) | {kind: inner}

        found = all_versions(content)
        if call.request.get("sort") == "modified-date":
            found.reverse()
        return call.v2_list(found, render)

    return versions


ROUTES: list[Route] = [
    ("POST", f"{V2}/pages", _create_page),
    ("GET", f"{V2}/pages", _list("page", False)),
    ("GET", f"{V2}/pages/{{id}}", _read("page")),
    ("PUT", f"{V2}/pages/{{id}}", _update("page")),
    ("PUT", f"{V2}/pages/{{id}}/title", _retitle),
    ("DELETE", f"{V2}/pages/{{id}}", _delete("page")),
    ("GET", f"{V2}/pages/{{id}}/children", _children(False)),
    ("GET", f"{V2}/pages/{{id}}/direct-children", _children(True)),
    ("GET", f"{V2}/pages/{{id}}/ancestors", _ancestors),
    ("GET", f"{V2}/pages/{{id}}/descendants", _descendants),
    ("GET", f"{V2}/pages/{{id}}/versions", _versions("page")),
    ("GET", f"{V2}/spaces/{{id}}/pages", _list("page", True)),
    ("POST", f"{V2}/blogposts", _create_blogpost),
    ("GET", f"{V2}/blogposts", _list("blogpost", False)),
    ("GET", f"{V2}/blogposts/{{id}}", _read("blogpost")),
    ("PUT", f"{V2}/blogposts/{{id}}", _update("blogpost")),
    ("DELETE", f"{V2}/blogposts/{{id}}", _delete("blogpost")),
    ("GET", f"{V2}/blogposts/{{id}}/versions", _versions("blogpost")),
    ("GET", f"{V2}/spaces/{{id}}/blogposts", _list("blogpost", True)),
]
