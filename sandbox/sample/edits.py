"""What people do at the source while nobody moves it: pages written, moved, added and deleted, as the administration asks for."""

from datetime import timedelta
from typing import Any

from sandbox.sample.model import Content, Instance, Kind, Restriction, Revision


class EditError(ValueError):
    """The edit names what is not there, or says something it cannot."""


def apply(instance: Instance, edit: dict[str, Any]) -> None:
    """One edit: ``{"do", "space", "title"}`` and what belongs to it.

    ``write`` (``body``, ``new_title``), ``add`` (``body``, ``parent``: a title), ``move`` (``parent``: a title or None,
    ``position``), ``homepage``, ``delete``, ``label`` (``labels``; ``file``: of that file of the page), ``restrict`` (``users``,
    ``groups`` that may see it; none: everybody), ``comment`` (``body``), ``resolve`` (its comments on pieces of
    text), ``attach`` (``file``, ``size``): a new file, or a new version of one. Raises EditError.
    """
    what = _EDITS.get(str(edit.get("do")))
    if what is None:
        raise EditError(f"an edit does one of: {', '.join(sorted(_EDITS))}")
    try:
        what(instance, edit)
    except (KeyError, TypeError) as error:
        raise EditError(f"the edit {edit.get('do')} lacks or has a wrong {error}") from error


def _page(instance: Instance, edit: dict[str, Any], title: str | None = None) -> Content:
    wanted = title if title is not None else edit["title"]
    for kind in ("page", "blogpost"):
        for found in instance.titled(kind, edit["space"], wanted):
            if found.status == "current":
                return found
    raise EditError(f"{edit['space']} has no page {wanted!r}")


def _revised(content: Content) -> None:
    last = content.revisions[-1]
    content.revisions.append(Revision(last.number + 1, last.by, last.when + timedelta(days=1)))


def _write(instance: Instance, edit: dict[str, Any]) -> None:
    page = _page(instance, edit)
    page.body = edit.get("body", page.body)
    page.title = edit.get("new_title", page.title)
    _revised(page)


def _made(instance: Instance, like: Content, kind: Kind, title: str, **more: Any) -> Content:
    first = Revision(1, like.modifier, like.modified + timedelta(days=1))
    return instance.add(Content(instance.new_id(), kind, like.space, title, like.creator, first.when, [first], **more))


def _add(instance: Instance, edit: dict[str, Any]) -> None:
    parent = _page(instance, edit, edit["parent"])
    below = len(instance.children(parent.id, "page"))
    _made(instance, parent, "page", edit["title"], body=edit["body"], parent=parent.id, position=below)


def _move(instance: Instance, edit: dict[str, Any]) -> None:
    page = _page(instance, edit)
    parent = _page(instance, edit, edit["parent"]).id if edit.get("parent") else None
    instance.reparent(page, parent)
    page.position = edit.get("position", page.position)


def _homepage(instance: Instance, edit: dict[str, Any]) -> None:
    instance.spaces[edit["space"]].homepage = _page(instance, edit).id


def _delete(instance: Instance, edit: dict[str, Any]) -> None:
    _page(instance, edit).status = "trashed"


def _label(instance: Instance, edit: dict[str, Any]) -> None:
    page = _page(instance, edit)
    labeled = _file(instance, page, edit["file"]) if "file" in edit else page
    if labeled is None:
        raise EditError(f"{page.title!r} has no file {edit['file']!r}")
    labeled.labels = tuple(("global", name) for name in edit["labels"])


def _restrict(instance: Instance, edit: dict[str, Any]) -> None:
    page = _page(instance, edit)
    users = [instance.user_by_name(name) for name in edit.get("users", ())]
    page.restrictions = (
        *(Restriction("read", user=user.key) for user in users if user is not None),
        *(Restriction("read", group=name) for name in edit.get("groups", ())),
    )


def _comment(instance: Instance, edit: dict[str, Any]) -> None:
    page = _page(instance, edit)
    _made(instance, page, "comment", f"Re: {page.title}", body=edit["body"], container=page.id)


def _resolve(instance: Instance, edit: dict[str, Any]) -> None:
    page = _page(instance, edit)
    for comment in instance.hanging(page.id, "comment"):
        if comment.inline is not None:
            comment.inline.status = "resolved"


def _file(instance: Instance, page: Content, name: str) -> Content | None:
    return next((file for file in instance.hanging(page.id, "attachment") if file.title == name), None)


def _attach(instance: Instance, edit: dict[str, Any]) -> None:
    page = _page(instance, edit)
    if (file := _file(instance, page, edit["file"])) is not None:
        file.size = int(edit["size"])
        _revised(file)
        return
    _made(
        instance,
        page,
        "attachment",
        edit["file"],
        body="",
        container=page.id,
        media_type="text/plain",
        size=int(edit["size"]),
    )


_EDITS = {
    "write": _write,
    "add": _add,
    "move": _move,
    "homepage": _homepage,
    "delete": _delete,
    "label": _label,
    "restrict": _restrict,
    "comment": _comment,
    "resolve": _resolve,
    "attach": _attach,
}

__all__ = ["EditError", "apply"]
