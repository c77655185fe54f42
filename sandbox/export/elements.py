"""The XML of one object of an export, in the dialect of a version.

Facts are those measured on real exports: how values, references, enums and collections are written, which class names its
owner and which owner lists its collections, and what releases before and after 8.0 do differently.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sandbox.versions import Version

_PACKAGES = {
    "Space": "com.atlassian.confluence.spaces",
    "SpaceDescription": "com.atlassian.confluence.spaces",
    "Page": "com.atlassian.confluence.pages",
    "BlogPost": "com.atlassian.confluence.pages",
    "Comment": "com.atlassian.confluence.pages",
    "Attachment": "com.atlassian.confluence.pages",
    "BodyContent": "com.atlassian.confluence.core",
    "ContentProperty": "com.atlassian.confluence.content",
    "CustomContentEntityObject": "com.atlassian.confluence.content",
    "Label": "com.atlassian.confluence.labels",
    "Labelling": "com.atlassian.confluence.labels",
    "ContentPermissionSet": "com.atlassian.confluence.security",
    "ContentPermission": "com.atlassian.confluence.security",
    "SpacePermission": "com.atlassian.confluence.security",
    "ConfluenceUserImpl": "com.atlassian.confluence.user",
    "Notification": "com.atlassian.confluence.mail.notification",
    "InternalUser": "com.atlassian.crowd.model.user",
    "InternalGroup": "com.atlassian.crowd.model.group",
    "HibernateMembership": "com.atlassian.crowd.embedded.hibernate2",
    "DirectoryImpl": "com.atlassian.crowd.model.directory",
}


@dataclass(frozen=True, slots=True)
class Ref:
    kind: str
    id: int | str


@dataclass(frozen=True, slots=True)
class Enum:
    kind: str
    package: str
    value: str


@dataclass(frozen=True, slots=True)
class Ids:
    """A collection: references to objects of one class."""

    kind: str
    ids: Sequence[int]
    type: str = "java.util.Collection"


@dataclass(frozen=True, slots=True)
class Raw:
    """XML as it is to stand there."""

    text: str


Value = str | int | bool | datetime | Ref | Enum | Ids | Raw | None


@dataclass(frozen=True, slots=True)
class Dialect:
    """``modern``: from 8.0 nothing is written for null, owners list no collections but their properties', what belongs to
    something names it, and history names the live object by reference and not by number."""

    version: Version

    @property
    def modern(self) -> bool:
        return self.version.major >= 8

    def element(self, kind: str, id: int | str, **properties: Value) -> str:
        key = "key" if kind == "ConfluenceUserImpl" else "id"
        number = f"<![CDATA[{id}]]>" if key == "key" else id
        lines = [f'<object class="{kind}" package="{_PACKAGES[kind]}">\n<id name="{key}">{number}</id>']
        for name, value in properties.items():
            if isinstance(value, Ids):
                if not self.modern or name == "contentProperties":
                    lines.append(_collection(name, value))
            elif value is None:
                if not self.modern:
                    lines.append(f'<property name="{name}"/>')
            else:
                lines.append(_property(name, value))
        lines.append("</object>\n")
        return "\n".join(lines)

    def owner(self, kind: str, id: int) -> Ref | None:
        """How what belongs to an object names it, where it does: before 8.0 only the owner's collection told of some."""
        return Ref(kind, id) if self.modern else None


def _property(name: str, value: str | int | bool | datetime | Ref | Enum | Raw) -> str:
    match value:
        case Ref(kind, id):
            key = "key" if kind == "ConfluenceUserImpl" else "id"
            return f'<property name="{name}" class="{kind}" package="{_PACKAGES[kind]}"><id name="{key}">{_text(id)}</id></property>'
        case Enum(kind, package, text):
            return f'<property name="{name}" enum-class="{kind}" package="{package}">{text}</property>'
        case Raw(text):
            return text
        case bool():
            return f'<property name="{name}">{str(value).lower()}</property>'
        case datetime():
            return f'<property name="{name}">{value.strftime("%Y-%m-%d %H:%M:%S")}.{value.microsecond // 1000:03d}</property>'
        case _:
            return f'<property name="{name}">{_text(value)}</property>'


def _text(value: str | int) -> str:
    """Text stands in CDATA; its own end inside is written with a blank, as Confluence does it."""
    if isinstance(value, int):
        return str(value)
    return f"<![CDATA[{value.replace(']]>', ']] >')}]]>"


def _collection(name: str, value: Ids) -> str:
    package = _PACKAGES[value.kind]
    rows = "".join(
        f'\n<element class="{value.kind}" package="{package}"><id name="id">{id}</id></element>' for id in value.ids
    )
    return f'<collection name="{name}" class="{value.type}">{rows}\n</collection>'
