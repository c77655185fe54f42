"""JSON of entities as Confluence gives it: what is not expanded is named under ``_expandable``."""

from collections.abc import Iterable
from datetime import datetime
from typing import Any
from urllib.parse import quote, quote_plus

from sandbox.sample.model import Content, Instance, Kind, Space, SpacePermission, tiny
from sandbox.server.viewer import Viewer
from sandbox.versions import PERMISSION_PAIRS, Version

Json = dict[str, Any]
Tree = dict[str, "Tree"]

NESTED_LIMIT = 25
PICTURE = {"path": "/images/icons/profilepics/default.svg", "width": 48, "height": 48, "isDefault": True}


def expand_tree(text: str) -> Tree:
    """``a.b,c`` as {"a": {"b": {}}, "c": {}}."""
    tree: Tree = {}
    for path in filter(None, (p.strip() for p in text.split(","))):
        at = tree
        for name in path.split("."):
            at = at.setdefault(name, {})
    return tree


def when(moment: datetime) -> str:
    """ISO 8601 with milliseconds and the server's offset, Z for none."""
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


class Shapes:
    """Makes the JSON of one answer. ``base``: address of the instance, with its context, without a trailing slash."""

    def __init__(self, instance: Instance, version: Version, viewer: Viewer, base: str, context: str) -> None:
        self.instance = instance
        self.version = version
        self.viewer = viewer
        self.base = base
        self.context = context
        self._above: dict[int, Json] = {}

    def rest(self, path: str) -> str:
        return f"{self.base}/rest/api{path}"

    def person(self, key: str | None, tree: Tree | None = None) -> Json:
        """A user by key; a key that resolves to nobody gives type unknown, None gives anonymous."""
        if key is None:
            return {"type": "anonymous", "profilePicture": PICTURE, "displayName": "Anonymous"}
        user = self.instance.users.get(key)
        self_link = {"self": self.rest(f"/user?key={key}")}
        if user is None:
            return {
                "type": "unknown",
                "username": None,
                "userKey": key,
                "profilePicture": PICTURE,
                "displayName": "Unknown User",
                "_links": self_link,
                "_expandable": {"status": ""},
            }
        out: Json = {
            "type": "known",
            "username": user.username,
            "userKey": user.key,
            "profilePicture": PICTURE,
            "displayName": user.display_name,
            "_links": self_link,
        }
        if not self.version.has("user-status"):
            return out
        if tree and "status" in tree:
            out["status"] = "current" if user.active else "deactivated"
            out["_expandable"] = {}
        else:
            out["_expandable"] = {"status": ""}
        return out

    def group(self, name: str) -> Json:
        return {"type": "group", "name": name, "_links": {"self": self.rest(f"/group/{quote(name, safe='')}")}}

    def space(self, space: Space, tree: Tree | None = None) -> Json:
        tree = tree or {}
        out: Json = {"id": space.id, "key": space.key, "name": space.name, "type": space.type}
        if self.version.has("space-status"):
            out["status"] = space.status
        expandable: Json = {"icon": "", "retentionPolicy": ""}
        if "description" in tree:
            kinds = tree["description"] or {}
            shapes = {k: {"value": space.description, "representation": k} for k in ("plain", "view") if k in kinds}
            out["description"] = {**shapes, "_expandable": {k: "" for k in ("plain", "view") if k not in kinds}}
        else:
            expandable["description"] = ""
        home = self.instance.contents.get(space.homepage or 0)
        if "homepage" in tree:
            if home is not None and self.viewer.sees(home):
                out["homepage"] = self.content(home, tree["homepage"])
        else:
            expandable["homepage"] = f"/rest/api/content/{space.homepage}" if space.homepage else ""
        if "metadata" in tree:
            labels = tree["metadata"].get("labels")
            out["metadata"] = {"_expandable": {}} if labels is None else {"labels": self.labels(space.labels)}
        else:
            expandable["metadata"] = ""
        if self.version.has("space-creator"):
            if "creator" in tree:
                out["creator"] = self.person(space.creator)
            else:
                expandable["creator"] = ""
            if "creationDate" in tree:
                out["creationDate"] = when(space.created)
            else:
                expandable["creationDate"] = ""
        webui = f"/spaces/{space.key}" if self.version.has("ids-in-links") else f"/display/{space.key}"
        out["_links"] = {"webui": webui, "self": self.rest(f"/space/{space.key}")}
        out["_expandable"] = expandable
        return out

    def labels(self, labels: Iterable[str | tuple[str, str]], start: int = 0, limit: int = 200) -> Json:
        pairs = [("team", x) if isinstance(x, str) else x for x in labels]
        rows = [self.label(p, n) for p, n in pairs[start : start + limit]]
        return {"results": rows, "start": start, "limit": limit, "size": len(rows)}

    def label(self, prefix: str, name: str) -> Json:
        number = sum((n + 1) * ord(c) for n, c in enumerate(prefix + name)) + 65536
        return {"prefix": prefix, "name": name, "id": str(number), "label": name}

    def permission(self, space: Space, permission: SpacePermission) -> Json | None:
        pair = PERMISSION_PAIRS.get(permission.type)
        if pair is None:
            return None
        subject = self.group(permission.group) if permission.group else self.person(permission.user)
        return {
            "operation": {"targetType": pair[0], "operationKey": pair[1]},
            "subject": subject,
            "spaceKey": space.key,
            "spaceId": space.id,
        }

    def webui(self, c: Content) -> str:
        ids = self.version.has("ids-in-links")
        title = quote_plus(c.title)
        if c.kind == "page":
            return f"/spaces/{c.space}/pages/{c.id}/{title}" if ids else f"/display/{c.space}/{title}"
        if c.kind == "blogpost":
            day = c.created.astimezone(self.instance.timezone).strftime("%Y/%m/%d")
            return f"/spaces/{c.space}/blog/{day}/{c.id}/{title}" if ids else f"/display/{c.space}/{day}/{title}"
        owner = self.instance.contents[c.container or 0]
        if c.kind == "comment":
            return f"{self.webui(owner)}?focusedCommentId={c.id}#comment-{c.id}"
        return f"{self.webui(owner)}?preview=%2F{owner.id}%2F{c.id}%2F{quote(c.title, safe='')}"

    def download(self, c: Content) -> str:
        moment = int(c.modified.timestamp() * 1000)
        name = quote(c.title, safe="")
        return f"/download/attachments/{c.container}/{name}?version={c.version}&modificationDate={moment}&api=v2"

    def content(self, c: Content, tree: Tree | None = None, *, version: int | None = None, alone: bool = False) -> Json:
        """One content. ``version``: an old one. ``alone``: the answer is this content itself, not a list."""
        tree = tree or {}
        out: Json = {"id": str(c.id), "type": c.kind, "status": "historical" if version else c.status, "title": c.title}
        path = f"/content/{c.id}"
        expandable: Json = {"operations": "", "descendants": f"/rest/api{path}/descendant"}

        def put(name: str, link: str, make: Any) -> None:
            if name in tree:
                out[name] = make()
            else:
                expandable[name] = link

        space = self.instance.spaces[c.space]
        put("space", f"/rest/api/space/{c.space}", lambda: self.space(space, tree["space"]))
        put("history", f"/rest/api{path}/history", lambda: self.history(c, tree["history"]))
        put("version", "", lambda: self.revision(c, version))
        put("ancestors", "", lambda: self.ancestors(c, tree["ancestors"]))
        put("container", self._container_link(c), lambda: self._container(c, tree["container"]))
        put("body", "", lambda: self.body(c, tree["body"], version))
        put("children", f"/rest/api{path}/child", lambda: self.nested_children(c, tree["children"]))
        if self.version.has("restrictions"):
            link = f"/rest/api{path}/restriction/byOperation"
            put("restrictions", link, lambda: self.restrictions(c, tree["restrictions"]))
        metadata: Json = {"mediaType": c.media_type} if c.kind == "attachment" else {}
        if "metadata" in tree:
            inner = tree["metadata"]
            if "labels" in inner:
                metadata["labels"] = self.labels(c.labels)
            metadata["_expandable"] = {k: "" for k in ("labels", "properties", "currentuser") if k not in inner}
            out["metadata"] = metadata
        else:
            expandable["metadata"] = ""
            if metadata:
                out["metadata"] = metadata
        if c.kind in {"page", "attachment"} and self.version.has("ids-in-links"):
            out["position"] = -1 if c.position is None else c.position
        out["extensions"] = self.extensions(c, tree.get("extensions") or {}, version)
        links: Json = {"webui": self.webui(c), "self": self.rest(path)}
        if c.kind == "attachment":
            links["download"] = self.download(c)
        elif c.kind != "comment":
            links["edit"] = f"/pages/resumedraft.action?draftId={c.id}"
            links["tinyui"] = f"/x/{tiny(c.id)}"
        if alone:
            links |= {"collection": "/rest/api/content", "base": self.base, "context": self.context}
        out["_links"] = links
        out["_expandable"] = expandable
        return out

    def extensions(self, c: Content, tree: Tree, version: int | None = None) -> Json:
        if c.kind == "page":
            return {"position": "none" if c.position is None else c.position}
        if c.kind == "attachment":
            number = version or c.version
            said = next((r.message for r in c.revisions if r.number == number), "")
            return {"mediaType": c.media_type, "fileSize": self.instance.file_size(c, number), "comment": said}
        if c.kind != "comment":
            return {}
        top = c
        while top.parent is not None:
            top = self.instance.contents[top.parent]
        out: Json = {"location": "inline" if top.inline else "footer"}
        expandable: Json = {}
        if "inlineProperties" in tree:
            if c.inline:
                out["inlineProperties"] = {"originalSelection": c.inline.selection, "markerRef": c.inline.marker}
        else:
            expandable["inlineProperties"] = ""
        if "resolution" in tree:
            if c.inline:
                out["resolution"] = {"status": c.inline.status}
        else:
            expandable["resolution"] = ""
        return {**out, "_expandable": expandable}

    def history(self, c: Content, tree: Tree) -> Json:
        out: Json = {
            "latest": True,
            "createdBy": self.person(c.creator),
            "createdDate": when(c.created.astimezone(self.instance.timezone)),
            "_links": {"self": self.rest(f"/content/{c.id}/history")},
        }
        expandable: Json = {"contributors": ""}
        if "lastUpdated" in tree:
            out["lastUpdated"] = self.revision(c, None)
        else:
            expandable["lastUpdated"] = ""
        if "previousVersion" in tree:
            if len(c.revisions) > 1:
                out["previousVersion"] = self.revision(c, c.revisions[-2].number)
        else:
            expandable["previousVersion"] = ""
        if "nextVersion" not in tree:
            expandable["nextVersion"] = ""
        return {**out, "_expandable": expandable}

    def revision(self, c: Content, number: int | None) -> Json:
        revision = next((r for r in c.revisions if r.number == number), c.revisions[-1])
        return {
            "by": self.person(revision.by),
            "when": when(revision.when.astimezone(self.instance.timezone)),
            "message": revision.message,
            "number": revision.number,
            "minorEdit": False,
            "hidden": False,
            "_links": {"self": f"{self.base}/rest/experimental/content/{c.id}/version/{revision.number}"},
            "_expandable": {"content": f"/rest/api/content/{c.id}"},
        }

    def ancestors(self, c: Content, tree: Tree) -> list[Json]:
        if tree:
            return [self.content(a, tree) for a in self.instance.ancestors(c)]
        # Pages of a list share most of what is above them.
        return [
            self._above.get(a.id) or self._above.setdefault(a.id, self.content(a)) for a in self.instance.ancestors(c)
        ]

    def _container_link(self, c: Content) -> str:
        return f"/rest/api/content/{c.container}" if c.container else f"/rest/api/space/{c.space}"

    def _container(self, c: Content, tree: Tree) -> Json:
        if c.container is not None:
            return self.content(self.instance.contents[c.container], tree)
        return self.space(self.instance.spaces[c.space], tree)

    def body(self, c: Content, tree: Tree, version: int | None) -> Json:
        kinds = ("storage", "editor", "view", "export_view", "styled_view", "anonymous_export_view")
        out: Json = {}
        for kind in kinds:
            if kind in tree:
                value = self.instance.body(c, self.base, version)
                representation = "storage" if kind in {"storage", "editor"} else kind
                link = {"content": f"/rest/api/content/{c.id}"}
                out[kind] = {"value": value, "representation": representation, "_expandable": link}
        return {**out, "_expandable": {k: "" for k in kinds if k not in tree}}

    def nested_children(self, c: Content, tree: Tree) -> Json:
        out: Json = {}
        kinds: tuple[Kind, ...] = ("page", "attachment", "comment")
        for kind in kinds:
            if kind in tree:
                found = self.child(c, kind)
                rows = [self.content(f, tree[kind]) for f in found[:NESTED_LIMIT]]
                link = f"/content/{c.id}/child/{kind}"
                links: Json = {"self": self.rest(link)}
                if len(found) > NESTED_LIMIT:
                    links["next"] = f"/rest/api{link}?limit={NESTED_LIMIT}&start={NESTED_LIMIT}"
                out[kind] = {"results": rows, "start": 0, "limit": NESTED_LIMIT, "size": len(rows), "_links": links}
        rest = {k: f"/rest/api/content/{c.id}/child/{k}" for k in kinds if k not in tree}
        return {**out, "_links": {"self": self.rest(f"/content/{c.id}/child")}, "_expandable": rest}

    def child(self, c: Content, kind: Kind) -> list[Content]:
        """Live and visible direct children: of comments only those that answer no other."""
        if kind == "page":
            found = self.instance.children(c.id, "page")
        elif c.kind == "comment" and kind == "comment":
            found = self.instance.children(c.id, "comment")
        else:
            found = [x for x in self.instance.hanging(c.id, kind) if x.parent is None]
        return [x for x in found if x.status == "current" and self.viewer.sees(x)]

    def restrictions(self, c: Content, tree: Tree) -> Json:
        out: Json = {}
        for operation in ("read", "update"):
            if operation in tree:
                out[operation] = self.restriction(c, operation, tree[operation])
        link = f"/rest/api/content/{c.id}/restriction/byOperation"
        out["_links"] = {"self": f"{self.base}{link}"}
        out["_expandable"] = {o: f"{link}/{o}" for o in ("read", "update") if o not in tree}
        return out

    def restriction(self, c: Content, operation: str, tree: Tree) -> Json:
        out: Json = {"operation": operation}
        held = [r for r in c.restrictions if r.operation == operation]
        if "restrictions" in tree:
            inner: Json = {}
            wanted = tree["restrictions"]
            if "user" in wanted:
                users = [self.person(r.user) for r in held if r.user]
                inner["user"] = {"results": users, "start": 0, "limit": 200, "size": len(users)}
            if "group" in wanted:
                groups = [self.group(r.group) for r in held if r.group]
                inner["group"] = {"results": groups, "start": 0, "limit": 200, "size": len(groups)}
            inner["_expandable"] = {k: "" for k in ("user", "group") if k not in wanted}
            out["restrictions"] = inner
        self_link = self.rest(f"/content/{c.id}/restriction/byOperation/{operation}")
        expandable = {"content": f"/rest/api/content/{c.id}"}
        return {**out, "_links": {"self": self_link}, "_expandable": expandable}
