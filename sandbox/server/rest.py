"""REST endpoints that a migration reads. ``ROUTES`` is the whole of them: path, handler, what the version must have."""

from collections.abc import Callable, Iterator
from datetime import date
from functools import partial
from urllib.parse import urlencode
from uuid import NAMESPACE_URL, uuid5

from starlette.responses import JSONResponse, RedirectResponse, Response

from sandbox.sample.model import Content, Kind, Space, User
from sandbox.server.call import Call
from sandbox.server.cql import search
from sandbox.server.errors import Refusal
from sandbox.server.shapes import Json

Handler = Callable[[Call], Response]

#: Id of the linked Jira.
JIRA_ID = "5f2b1c9e-0000-3333-8888-0123456789ab"

# --- who the instance is ---------------------------------------------------------------------------------------------


def server_information(call: Call) -> Response:
    call.known()
    v = call.version
    return JSONResponse(
        {
            "baseUrl": call.base,
            "version": v.text,
            "buildNumber": v.build,
            "marketplaceBuildNumber": v.build,
            "buildDate": "Mon Jan 06 00:00:00 UTC 2025",
        }
    )


def manifest(call: Call) -> Response:
    v = call.version
    if "json" in call.request.headers.get("accept", ""):
        return JSONResponse(
            {"name": call.instance.name, "typeId": "confluence", "version": v.text, "buildNumber": v.build}
        )
    xml = (
        '<?xml version="1.0" encoding="UTF-8" standalone="yes"?><manifest>'
        f"<id>{uuid5(NAMESPACE_URL, f'{call.instance.name}:{call.instance.seed}')}</id><name>{call.instance.name}</name>"
        f"<typeId>confluence</typeId><version>{v.text}</version><buildNumber>{v.build}</buildNumber>"
        f"<applinksVersion>9.0.0</applinksVersion><url>{call.base}</url></manifest>"
    )
    return Response(xml, media_type="application/xml")


def application_links(call: Call) -> Response:
    """The linked Jira, whose server id stands in the jira macros of the content."""
    call.known()
    call.administrator()
    url = "http://jira.example.com"
    jira = {
        "id": JIRA_ID,
        "name": "Harbor Tracker",
        "typeId": "jira",
        "displayUrl": url,
        "rpcUrl": url,
        "iconUrl": f"{call.base}/images/icons/jira.png",
        "isPrimary": True,
        "isSystem": False,
    }
    return JSONResponse({"list": [{"application": jira, "configuredOutboundAuthenticators": []}]})


def access_mode(call: Call) -> Response:
    call.known()
    return JSONResponse("READ_WRITE")


# --- people ----------------------------------------------------------------------------------------------------------


def _one_user(call: Call) -> User:
    key, username = call.query.get("key"), call.query.get("username")
    if key is None and username is None:
        raise Refusal(400, "Either key or username must be given")
    user = call.instance.users.get(key) if key is not None else call.instance.user_by_name(username or "")
    if user is None:
        raise Refusal(404, f"No user found with {'key' if key is not None else 'username'} : {key or username}")
    return user


def user(call: Call) -> Response:
    call.known()
    return JSONResponse(call.shapes.person(_one_user(call).key, call.tree))


def current_user(call: Call) -> Response:
    me = call.viewer.user
    return JSONResponse(call.shapes.person(me.key if me else None, call.tree))


def user_list(call: Call) -> Response:
    if call.viewer.user is None:
        raise Refusal(403, "You must be logged in to see users.")
    users = sorted(call.instance.users.values(), key=lambda u: u.username)
    return call.page(users, lambda u: call.shapes.person(u.key, call.tree), 100)


def member_of(call: Call) -> Response:
    call.known()
    key = _one_user(call).key
    names = sorted(g.name for g in call.instance.groups.values() if key in g.users)
    return call.page(names, call.shapes.group, 200)


def groups(call: Call) -> Response:
    call.known()
    return call.page(sorted(call.instance.groups), call.shapes.group, 200)


def _group_name(call: Call) -> str:
    name = call.path("name")
    if name not in call.instance.groups:
        raise Refusal(404, f"No group found with name : {name}")
    return name


def group(call: Call) -> Response:
    call.known()
    return JSONResponse(call.shapes.group(_group_name(call)))


def members(call: Call) -> Response:
    """Direct members only."""
    call.known()
    call.administrator()
    keys = call.instance.groups[_group_name(call)].users
    users = sorted((call.instance.users[k] for k in keys), key=lambda u: u.username)
    return call.page(users, lambda u: call.shapes.person(u.key, call.tree), 200)


def group_members(call: Call) -> Response:
    """Groups in a group."""
    call.known()
    call.administrator()
    return call.page(sorted(call.instance.groups[_group_name(call)].groups), call.shapes.group, 200)


# --- spaces ----------------------------------------------------------------------------------------------------------


def spaces(call: Call) -> Response:
    keys = {k.lower() for name in ("spaceKey", "spaceKeys") for v in call.query.getlist(name) for k in v.split(",")}
    type, status = call.query.get("type"), call.query.get("status")
    found = [
        s
        for s in call.instance.spaces.values()
        if (not keys or s.key.lower() in keys)
        and (not type or s.type == type)
        and (not status or s.status == status)
        and call.viewer.sees_space(s)
    ]
    found.sort(key=lambda s: s.name.lower())
    return call.page(found, lambda s: call.shapes.space(s, call.tree), 25)


def space(call: Call) -> Response:
    return JSONResponse(call.shapes.space(call.space(call.path("key")), call.tree))


def space_content(call: Call) -> Response:
    space = call.space(call.path("key"))
    kind = _kind(call.path("type"), ("page", "blogpost"))
    rows = _visible(call, kind, space.key)
    if call.query.get("depth") == "root":
        rows = (c for c in rows if c.parent is None)
    return call.page(rows, lambda c: call.shapes.content(c, call.tree), 25)


def space_labels(call: Call) -> Response:
    space = call.space(call.path("key"))
    return call.page(space.labels, lambda n: call.shapes.label("team", n), 200)


def space_permissions(call: Call) -> Response:
    call.known()
    space = call.space(call.path("key"))
    if not call.viewer.may_in(space, "SETSPACEPERMISSIONS"):
        raise Refusal(403, "You do not have permission to see the permissions of this space.")
    rows = [call.shapes.permission(space, p) for p in space.permissions]
    return JSONResponse([r for r in rows if r is not None])


# --- content ---------------------------------------------------------------------------------------------------------


def _kind(name: str, allowed: tuple[Kind, ...]) -> Kind:
    for kind in allowed:
        if kind == name:
            return kind
    raise Refusal(400, f"No ContentType found with name: {name}")


def _statuses(call: Call) -> tuple[str, ...]:
    asked = call.query.get("status") or "current"
    return ("current", "trashed") if asked == "any" else (asked,)


def _visible(call: Call, kind: Kind, space: str | None, after: int = 0) -> Iterator[Content]:
    statuses = _statuses(call)
    return (c for c in call.instance.listed(kind, space, after) if c.status in statuses and call.viewer.sees(c))


def contents(call: Call) -> Response:
    kind = _kind(call.query.get("type") or "page", ("page", "blogpost", "comment"))
    if kind == "comment":
        raise Refusal(501, "Comments are not listed by space.")
    key = call.query.get("spaceKey")
    found = call.instance.space_by_key(key) if key else None
    if key and (found is None or not call.viewer.sees_space(found)):
        return call.page([], None, 25)
    place = found.key if found else None
    title, day = call.query.get("title"), call.query.get("postingDay")
    if not title and not day and call.viewer.administrator and _statuses(call) == ("current",):
        # Nothing is left out, so that a later page need not make all the earlier rows.
        return call.page(partial(call.instance.current, kind, place), lambda c: call.shapes.content(c, call.tree), 25)
    rows = _visible(call, kind, place)
    if title:
        named = (
            c for key in ([place] if place else call.instance.spaces) for c in call.instance.titled(kind, key, title)
        )
        rows = (c for c in named if c.status in _statuses(call) and call.viewer.sees(c))
    if day:
        try:
            wanted = date.fromisoformat(day)
        except ValueError:
            raise Refusal(400, f"Not a date: {day}") from None
        rows = (c for c in rows if c.created.astimezone(call.instance.timezone).date() == wanted)
    return call.page(rows, lambda c: call.shapes.content(c, call.tree), 25)


def scan(call: Call) -> Response:
    """By cursor. The type is asked for once and kept in the cursor, where the release heeds it."""
    if "expand" not in call.query:
        call.tree = {"history": {}, "space": {}, "version": {}}
    kind, after = (call.query.get("type") if call.version.has("scan-types") else None) or "page", 0
    cursor = call.query.get("cursor")
    if cursor:
        parts = cursor.split(":")
        if len(parts) != 4 or not parts[3].isdecimal():
            raise Refusal(400, f"Invalid cursor: {cursor}")
        kind, after = parts[2], int(parts[3])
    key = call.query.get("spaceKey")
    name = call.space(key).key if key else None
    limit = call.limit(25)
    rows: list[Content] = []
    for c in _visible(call, _kind(kind, ("page", "blogpost", "comment")), name, after):
        rows.append(c)
        if len(rows) > limit:
            break
    links: Json = {"self": str(call.request.url), "base": call.base, "context": call.context}
    if len(rows) > limit:
        links["next"] = call.link(drop=("type",), limit=limit, cursor=f"content:false:{kind}:{rows[limit - 1].id}")
    results = [call.shapes.content(c, call.tree) for c in rows[:limit]]
    out: Json = {"results": results, "cursor": cursor or "", "limit": limit, "size": len(results), "_links": links}
    return JSONResponse(out)


def content(call: Call) -> Response:
    status = call.query.get("status")
    if status == "historical":
        c = call.content(call.path("id"))
        # Of files the server looks up the current one, whatever the number.
        number = c.version if c.kind == "attachment" else call.number("version", c.version)
        if all(r.number != number for r in c.revisions):
            raise Refusal(404, f"No version {number} of content {c.id}")
        return JSONResponse(call.shapes.content(c, call.tree, version=number, alone=True))
    statuses = ("current", "trashed") if status == "any" else (status or "current",)
    c = call.content(call.path("id"), statuses)
    if "expand" not in call.query:
        call.tree = {"history": {}, "space": {}, "version": {}}
    return JSONResponse(call.shapes.content(c, call.tree, alone=True))


def history(call: Call) -> Response:
    return JSONResponse(call.shapes.history(call.content(call.path("id")), call.tree))


def versions(call: Call) -> Response:
    c = call.content(call.path("id"))
    return call.page([r.number for r in reversed(c.revisions)], lambda n: call.shapes.revision(c, n), 25)


def child(call: Call) -> Response:
    """Child pages, or replies of a comment."""
    c = call.content(call.path("id"))
    kind = _kind(call.path("type"), ("page", "attachment", "comment"))
    return call.page(call.shapes.child(c, kind), lambda x: call.shapes.content(x, call.tree), 25)


def comments(call: Call) -> Response:
    c = call.content(call.path("id"))
    if call.query.get("depth") == "all" and c.kind != "comment":
        rows = [x for x in call.instance.hanging(c.id, "comment") if x.status == "current"]
    else:
        rows = call.shapes.child(c, "comment")
    locations = set(call.query.getlist("location"))
    if locations:
        rows = [x for x in rows if _location(call, x) in locations]
    return call.page(rows, lambda x: call.shapes.content(x, call.tree), 25)


def _location(call: Call, c: Content) -> str:
    while c.parent is not None:
        c = call.instance.contents[c.parent]
    if c.inline is None:
        return "footer"
    return "resolved" if c.inline.status == "resolved" else "inline"


def attachments(call: Call) -> Response:
    c = call.content(call.path("id"))
    rows = call.shapes.child(c, "attachment")
    name, media_type = call.query.get("filename"), call.query.get("mediaType")
    if name:
        rows = [x for x in rows if x.title == name]
    if media_type:
        rows = [x for x in rows if x.media_type == media_type]
    return call.page(rows, lambda x: call.shapes.content(x, call.tree), 50)


def labels(call: Call) -> Response:
    c = call.content(call.path("id"))
    prefix = call.query.get("prefix")
    rows = [x for x in c.labels if not prefix or x[0] == prefix]
    return call.page(rows, lambda x: call.shapes.label(*x), 200)


def properties(call: Call) -> Response:
    c = call.content(call.path("id"))

    def shape(row: tuple[str, object]) -> Json:
        key, value = row
        return {"id": f"{c.id}00", "key": key, "value": value, "version": {"number": 1, "minorEdit": True}}

    return call.page(c.properties, shape, 10)


def restrictions(call: Call) -> Response:
    c = call.content(call.path("id"))
    tree = {o: call.tree.get(o, {}) for o in ("read", "update")}
    return JSONResponse(call.shapes.restrictions(c, tree))


def restriction(call: Call) -> Response:
    c = call.content(call.path("id"))
    operation = call.path("operation")
    if operation not in {"read", "update"}:
        raise Refusal(400, f"No OperationKey found with name: {operation}")
    return JSONResponse(call.shapes.restriction(c, operation, call.tree))


def _watchers(call: Call, space: Space, keys: tuple[str, ...]) -> Response:
    call.known()
    if not call.viewer.may_in(space, "SETSPACEPERMISSIONS"):
        raise Refusal(403, "Only an administrator of Confluence or of the space can see who watches.")
    return call.page(keys, lambda k: call.shapes.person(k, call.tree), 25)


def content_watchers(call: Call) -> Response:
    c = call.content(call.path("id"))
    if c.kind not in {"page", "blogpost"}:
        raise Refusal(400, "Only pages and blog posts are watched.")
    return _watchers(call, call.instance.spaces[c.space], c.watchers)


def space_watchers(call: Call) -> Response:
    space = call.space(call.path("key"))
    return _watchers(call, space, space.watchers)


def content_search(call: Call) -> Response:
    cql = call.query.get("cql")
    if not cql:
        raise Refusal(400, "A cql query is required")
    found = (c for c in search(call.instance, cql) if call.viewer.sees(c))
    return call.page(found, lambda c: call.shapes.content(c, call.tree), 25, total=True)


def site_search(call: Call) -> Response:
    cql = call.query.get("cql")
    if not cql:
        raise Refusal(400, "A cql query is required")
    found = (c for c in search(call.instance, cql) if call.viewer.sees(c))
    inner = call.tree.get("content") or {}

    def shape(c: Content) -> Json:
        moment = call.shapes.revision(c, None)["when"]
        webui = call.shapes.webui(c)
        entity = call.shapes.content(c, inner)
        return {"content": entity, "title": c.title, "url": webui, "entityType": "content", "lastModified": moment}

    return call.page(found, shape, 25, total=True)


# --- files -----------------------------------------------------------------------------------------------------------


def download(call: Call) -> Response:
    """Bytes of a version. Who may not see the page is sent to log in, or, logged in, told that there is nothing."""
    container, name = call.path("container"), call.path("filename")
    owner = call.instance.contents.get(int(container)) if container.isdecimal() else None
    if call.viewer.user is None and (owner is None or not call.viewer.sees(owner)):
        query = urlencode({"os_destination": call.request.url.path})
        return RedirectResponse(f"{call.base}/login.action?{query}", 302)
    if owner is None or not call.viewer.sees(owner):
        raise Refusal(404, "Not found", plain=True)
    files = (x for x in call.shapes.child(owner, "attachment") if x.title == name)
    c = next(files, None)
    number = call.number("version", c.version) if c else 0
    if c is None or c.missing_file or all(r.number != number for r in c.revisions):
        raise Refusal(404, "Not found", plain=True)
    data = call.instance.file(c, number)
    return Response(data, media_type=c.media_type, headers={"Content-Disposition": "attachment"})


#: Path below the context, handler, the feature its version must have.
ROUTES: tuple[tuple[str, Handler, str], ...] = (
    ("/rest/api/server-information", server_information, "server-information"),
    ("/rest/applinks/1.0/manifest", manifest, "rest"),
    ("/rest/applinks/1.0/listApplicationlinks", application_links, "rest"),
    ("/rest/api/accessmode", access_mode, "rest"),
    ("/rest/api/user", user, "user"),
    ("/rest/api/user/current", current_user, "user"),
    ("/rest/api/user/list", user_list, "user-list"),
    ("/rest/api/user/memberof", member_of, "user"),
    ("/rest/api/group", groups, "rest"),
    ("/rest/api/group/{name}", group, "rest"),
    ("/rest/api/group/{name}/member", members, "rest"),
    ("/rest/api/group/{name}/groupmember", group_members, "nested-groups"),
    ("/rest/api/space", spaces, "rest"),
    ("/rest/api/space/{key}", space, "rest"),
    ("/rest/api/space/{key}/content/{type}", space_content, "rest"),
    ("/rest/api/space/{key}/labels", space_labels, "space-creator"),
    ("/rest/api/space/{key}/watchers", space_watchers, "watchers"),
    ("/rest/api/space/{key}/permissions", space_permissions, "space-permissions"),
    ("/rest/api/content", contents, "rest"),
    ("/rest/api/content/scan", scan, "scan"),
    ("/rest/api/content/search", content_search, "rest"),
    ("/rest/api/search", site_search, "user"),
    ("/rest/api/content/{id}", content, "rest"),
    ("/rest/api/content/{id}/history", history, "rest"),
    ("/rest/experimental/content/{id}/version", versions, "rest"),
    ("/rest/api/content/{id}/child/comment", comments, "rest"),
    ("/rest/api/content/{id}/child/attachment", attachments, "rest"),
    ("/rest/api/content/{id}/child/{type}", child, "rest"),
    ("/rest/api/content/{id}/label", labels, "rest"),
    ("/rest/api/content/{id}/property", properties, "rest"),
    ("/rest/api/content/{id}/restriction/byOperation", restrictions, "restrictions"),
    ("/rest/api/content/{id}/restriction/byOperation/{operation}", restriction, "restrictions"),
    ("/rest/api/content/{id}/watchers", content_watchers, "watchers"),
    ("/download/attachments/{container}/{filename:path}", download, "rest"),
)
