"""An instance written out as an export and read by the product is the instance that the product reads by REST."""

import hashlib
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from sandbox.export import write_csv_export, write_export
from sandbox.sample import generate
from sandbox.sample.model import Instance
from sandbox.versions import Version
from shared.confluence.export import open_export
from shared.confluence.export.intake import take_in
from shared.confluence.rest import RestSource
from shared.confluence.source import FileMissing, Source
from tests.unit.sandbox_server.serving import instance, serving

SIZE = {"spaces": 4, "pages": 50, "users": 25, "attachments": 30, "comments": 45}


def written(held: Instance, version: str, path: Path, **options: Any) -> Path:
    with path.open("wb") as file:
        for _ in write_export(held, Version(version), file, **options):
            pass
    return path


async def digest_of(source: Source, id: str) -> str | None:
    """Of an attachment's bytes; None where the source has none."""
    found = hashlib.sha256()
    try:
        async with source.open_attachment(id) as pieces:
            async for piece in pieces:
                found.update(piece)
    except FileMissing:
        return None
    return found.hexdigest()


async def tell(source: Source) -> dict[str, dict[str, Any]]:
    """Everything a source says of every entity, by kind and id, in an order of its own."""
    told: dict[str, dict[str, Any]] = {
        "person": {},
        "group": {},
        "space": {},
        "item": {},
        "content": {},
        "comment": {},
        "file": {},
    }
    async for person in source.people():
        assert await source.person(person.id) == person
        told["person"][person.id] = person
    async for group in source.groups():
        told["group"][group.name] = {m async for m in source.members(group.name)}
    async for space in source.spaces():
        permissions = {(p.operation, p.subject_kind, p.subject) async for p in source.permissions(space.id)}
        named = {p async for p in source.related_people(space.id)}
        told["space"][space.id] = (space, permissions, named)
        async for item in source.items(space.id):
            assert item.id not in told["item"]
            told["item"][item.id] = item
            if item.kind == "comment":
                told["comment"][item.id] = await source.comment(item.id)
            elif item.kind == "attachment":
                file = await source.attachment(item.id)
                told["file"][item.id] = (file, await source.file_versions(item.id), await digest_of(source, item.id))
            else:
                content = await source.content(item.id)
                earlier = [v async for v in source.versions(item.id, 3)]
                besides = (dict(await source.properties(item.id)), set(await source.watchers("content", item.id)))
                told["content"][item.id] = (content, earlier, besides)
                assert await source.find_content(space.key, content.title, content.posting_day) == item.id
    return told


def comparable(value: Any, *, zoned: bool) -> Any:
    """Without what only one of the two can know: where a person's account is, who made a space and when, whether a file that
    is listed is there; labels and holders of restrictions in one order; and times without offset where the export has none."""
    fields = {name: getattr(value, name) for name in value.__slots__}
    for name in ("directory", "has_file"):
        fields.pop(name, None)
    if "homepage_id" in fields:
        del fields["creator"], fields["created_at"]
    for name in ("labels", "restrictions"):
        if isinstance(fields.get(name), tuple):
            fields[name] = sorted(map(repr, fields[name]))
    for name in ("created_at", "modified_at", "edited_at"):
        if fields.get(name) is not None and not zoned:
            fields[name] = fields[name].replace(tzinfo=None)
    return fields


def flat(kind: str, told: Any, zoned: bool, watched: bool) -> Any:
    """An entity with all that is told of it besides."""
    if kind == "file":
        file, versions, digest = told  # of earlier versions REST knows the number only
        known = [v.number if v.number < file.version else comparable(v, zoned=zoned) for v in versions]
        return comparable(file, zoned=zoned), known if digest else [], digest
    if kind == "content":
        content, earlier, (properties, watchers) = told
        history = [comparable(v, zoned=zoned) for v in earlier]
        return comparable(content, zoned=zoned), history, properties, watchers if watched else None
    fields = comparable(told, zoned=zoned)
    if kind == "item" and not watched:
        del fields["watchers"]
    return fields


@pytest.mark.parametrize("version", ["5.10.8", "6.13.2", "8.5.6", "10.0.3"])
async def test_an_export_reads_as_the_instance_reads_by_rest(version: str, tmp_path: Path) -> None:
    app = instance(version, generate=SIZE, seed=11)
    number = tuple(int(x) for x in version.split(".")[:2])
    async with serving(app) as url:
        rest = RestSource(url, token=None, username="admin", password="admin")
        by_rest = await tell(rest)
        place = written(app.state.instance, version, tmp_path / "site.zip", base_url=url)
        await rest.close()
    assert not [e for e in app.state.journal if e["write"]]
    name = await take_in(place, tmp_path / "store")
    export = open_export(tmp_path / "store", name)
    by_export = await tell(export)
    info = await export.info()
    assert (info.product, info.version) == ("server", version)
    notes = {note.code for note in await export.notes()}
    assert notes <= {"file_missing", "author_unknown", "mention_of_unknown_person", "time_zone_unknown"}
    zoned = "time_zone_unknown" not in notes
    await export.close()

    assert set(by_rest["person"]) == set(by_export["person"])
    for id, person in by_rest["person"].items():
        other = comparable(by_export["person"][id], zoned=zoned)
        one = comparable(person, zoned=zoned)
        if number >= (9, 0):  # no API tells addresses any more
            one.pop("email"), other.pop("email")
        if number < (7, 0):  # nor, before, who is disabled
            one.pop("active"), other.pop("active")
        assert one == other
    assert set(by_rest["group"]) == set(by_export["group"])
    for name, members in by_rest["group"].items():
        assert members <= by_export["group"][name]
        assert members == by_export["group"][name] or number < (10, 0), "nested groups are told from 10.0 on"
    watched = number >= (10, 0)  # REST tells watchers from then on
    for kind in ("item", "content", "comment", "file"):
        assert set(by_rest[kind]) == set(by_export[kind])
        for id, entity in by_rest[kind].items():
            one, other = flat(kind, entity, zoned, watched), flat(kind, by_export[kind][id], zoned, watched)
            assert one == other
    assert set(by_rest["space"]) == set(by_export["space"])
    for id, (space, permissions, named) in by_rest["space"].items():
        other_space, other_permissions, other_named = by_export["space"][id]
        assert comparable(space, zoned=zoned) == comparable(other_space, zoned=zoned)
        gone = {p for p in other_permissions if p[1] == "person" and p[2] not in by_export["person"]}
        assert permissions in (other_permissions, other_permissions - gone)
        if watched:
            assert {p for p in named if p in by_export["person"]} == other_named


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@example(197, "5.10.8", {"spaces": 2, "pages": 40, "users": 3, "attachments": 7, "comments": 14})
@given(
    st.integers(0, 2**31),
    st.sampled_from(["5.10.8", "6.13.0", "7.19.0", "8.5.6", "9.2.1", "10.0.3"]),
    st.fixed_dictionaries(
        {
            "spaces": st.integers(1, 5),
            "pages": st.integers(1, 60),
            "users": st.integers(1, 30),
            "attachments": st.integers(0, 30),
            "comments": st.integers(0, 30),
        }
    ),
)
async def test_every_live_entity_of_any_instance_is_in_its_export_once(
    tmp_path: Path, seed: int, version: str, size: dict[str, Any]
) -> None:
    held = generate(seed, **size)
    folder = tmp_path / hashlib.sha256(repr((seed, version, size)).encode()).hexdigest()
    folder.mkdir(exist_ok=True)
    name = await take_in(written(held, version, folder / "site.zip"), folder / "store")
    source = open_export(folder / "store", name)
    live = {str(c.id): c for c in held.contents.values() if held.live(c)}
    seen: list[str] = []
    async for space in source.spaces():
        model = held.spaces[space.key]
        assert (space.id, space.name, space.type, space.status) == (str(model.id), model.name, model.type, model.status)
        assert (space.homepage_id, space.description) == (str(model.homepage), model.description)
        async for item in source.items(space.id):
            c = live[item.id]
            assert (item.kind, item.version, c.space) == (c.kind, c.version, space.key)
            assert (item.parent, item.container) == (
                str(c.parent) if c.parent else None,
                str(c.container) if c.container else None,
            )
            assert (item.position, item.depth) == (c.position, len(held.ancestors(c)))
            assert item.restrictions == len(c.restrictions)
            seen.append(item.id)
    assert sorted(seen) == sorted(live)
    assert {p.username async for p in source.people()} == {u.username for u in held.users.values()}
    for name in held.groups:
        assert {m async for m in source.members(name)} == held.members(name)
    await source.close()


async def test_an_export_of_one_space_has_that_space_and_no_directory(tmp_path: Path) -> None:
    held = generate(5, **SIZE)
    key = next(iter(held.spaces))
    name = await take_in(written(held, "8.5.6", tmp_path / "space.zip", spaces=[key]), tmp_path / "store")
    source = open_export(tmp_path / "store", name)
    assert [s.key async for s in source.spaces()] == [key]
    people = {p.id: p async for p in source.people()}
    assert {p.email for p in people.values()} == {u.email or None for u in held.users.values()}
    assert all(p.active is None for p in people.values())
    assert [m async for g in source.groups() async for m in source.members(g.name)] == []
    await source.close()


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, 2**31), st.integers(1, 60), st.integers(0, 40), st.integers(0, 40))
async def test_a_space_reads_the_same_from_xml_and_from_csv(
    tmp_path: Path, seed: int, pages: int, attachments: int, comments: int
) -> None:
    held = generate(seed, spaces=2, pages=pages, users=15, attachments=attachments, comments=comments)
    key = sorted(held.spaces)[seed % 2]
    folder = tmp_path / f"{seed}-{pages}-{attachments}-{comments}"
    folder.mkdir(exist_ok=True)
    with (folder / "csv.zip").open("wb") as file:
        for _ in write_csv_export(held, file, space=key):
            pass
    told: list[dict[str, dict[str, Any]]] = []
    for place in (written(held, "8.5.6", folder / "xml.zip", spaces=[key]), folder / "csv.zip"):
        source = open_export(folder / "store", await take_in(place, folder / "store"))
        told.append(await tell(source))
        expected = {"file_missing", "author_unknown", "mention_of_unknown_person", "column_missing"}
        assert {note.code for note in await source.notes()} <= expected
        assert (await source.info()).product == ("cloud" if place.name == "csv.zip" else "server")
        await source.close()
    by_xml, by_csv = told
    for kind in ("group", "item", "content", "comment", "file"):
        assert set(by_xml[kind]) == set(by_csv[kind])
    # No description tells how a CSV export writes watches.
    for kind in ("item", "content", "comment", "file"):
        for id, entity in by_xml[kind].items():
            assert flat(kind, entity, True, False) == flat(kind, by_csv[kind][id], True, False)
    ((space, permissions, _),), ((other, other_permissions, _),) = by_xml["space"].values(), by_csv["space"].values()
    assert (space, permissions) == (other, other_permissions)
    assert {p.username for p in by_csv["person"].values()} == {u.username for u in held.users.values()}
    assert not any(p.email for p in by_csv["person"].values())


def test_the_same_instance_gives_the_same_file_byte_for_byte() -> None:
    def whole(version: str) -> bytes:
        file = BytesIO()
        for _ in write_export(generate(5, **SIZE), Version(version), file):
            pass
        return file.getvalue()

    assert whole("8.5.6") == whole("8.5.6")
    assert whole("8.5.6") != whole("7.19.0")
