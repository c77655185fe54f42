"""Instances of any size from a seed. Rows are made at once, bodies and files when they are asked for."""

import random
from datetime import datetime
from itertools import accumulate
from xml.sax.saxutils import escape

from sandbox.sample.build import Builder, link, macro, mention
from sandbox.sample.model import BASE, Content, Group, Instance, Restriction, Revision, tiny

FIRST = ("Ada", "Bo", "Cleo", "Dov", "Elin", "Fitz", "Gwen", "Hugo", "Ines", "Jory", "Kaya", "Lev")
LAST = ("Amberley", "Bristow-Vale", "Cinderhall", "Dunmoor", "Eastwick", "Fallow", "Greyling", "Hartsease")
NOUNS = (
    "Lamp",
    "Harbor",
    "Kettle",
    "Ledger",
    "Bridge",
    "Garden",
    "Signal",
    "Orchard",
    "Compass",
    "Ferry",
    "تقويم",
    "地図",
    "Größe",
    "Canoë 🛶",
)
KINDS = ("Guide", "Notes", "Plan", "Review", "Checklist", "Meeting", "Design", "FAQ")
PROSE = (
    "the lamp is lit before dusk and the ledger is kept by hand while boats wait at the outer mark until "
    "somebody on the pier has counted every crate and signed for it twice as the rules of the harbor have said "
    "for longer than anyone knows"
)
WORDS = PROSE.split()


def generate(
    seed: int,
    *,
    spaces: int = 10,
    pages: int = 1000,
    users: int = 50,
    attachments: int = 0,
    comments: int = 0,
    name: str = "",
) -> Instance:
    """An instance with that many things in all. Spaces differ in size as in life: few large, most small."""
    instance = Instance(name or f"Generated {seed}", seed, write_body=_body)
    b = Builder(instance, datetime(2018, 1, 1, 8, 0))  # noqa: DTZ001 - the builder puts the instance's offset on it
    r = random.Random(f"generate:{seed}")
    b.user("admin", "Generated Admin", "admin@example.com")
    for n in range(1, max(users, 1)):
        username = f"user{n}"
        b.user(username, f"{r.choice(FIRST)} {r.choice(LAST)}", f"{username}@example.com", active=n % 17 != 16)
    names = [u.username for u in instance.users.values()]
    keys = list(instance.users)
    instance.groups["confluence-users"] = Group("confluence-users", keys)
    instance.groups["confluence-administrators"] = Group("confluence-administrators", [b.key("admin")])
    instance.groups["team"] = Group("team", keys[:10])
    weights = [1 / (n + 1) for n in range(spaces)]
    total = sum(weights)
    bounds = [round(pages * a / total) for a in accumulate(weights)]
    made: list[Content] = []
    start = 0
    for n, end in enumerate(bounds):
        space = b.space(f"S{n + 1}", f"Space {n + 1}", f"Generated space {n + 1}.", names[n % len(names)])
        own: list[Content] = []
        for p in range(max(end - start, 1)):
            title = space.name if p == 0 else f"{r.choice(NOUNS)} {r.choice(KINDS)} {p}"
            if p % 997 == 996:
                title = (title + " " + "and so on " * 40)[:255].strip()
            created = b.tick()
            by = r.choice(keys)
            page = Content(
                instance.new_id(), "page", space.key, title, by, created, [Revision(1, by, created)], body=None
            )
            if p:
                # mostly under one of the recent pages: deep and wide parts both occur
                page.parent = own[max(0, p - 1 - int(r.expovariate(0.05)))].id if r.random() < 0.8 else own[0].id
                page.position = p if r.random() < 0.8 else None
            if r.random() < 0.2:
                page.labels = (("global", f"topic-{r.randrange(40)}"),)
            if r.random() < 0.02:
                page.restrictions = (Restriction("read", group="team"), Restriction("read", user=by))
            own.append(instance.add(page))
            space.homepage = space.homepage or page.id
        made += own
        start = end
    for n in range(attachments):
        page = made[int(len(made) * r.random() ** 2)]
        b.attach(
            page,
            f"file-{n % 100}.bin",
            "application/octet-stream",
            int(r.paretovariate(1.2) * 2000) % 3_000_000,
            r.choice(names),
        )
    last: Content | None = None
    for n in range(comments):
        reply = last if last is not None and last.container is not None and n % 3 == 2 else None
        page = instance.contents[reply.container] if reply and reply.container else r.choice(made)
        last = b.comment(page, r.choice(names), f"<p>Remark {n}.</p>", reply_to=reply)
    return instance


def _body(instance: Instance, page: Content) -> str:
    """A body of skewed length with links, a mention and a macro now and then; the same for the same page always."""
    r = random.Random(f"body:{instance.seed}:{page.id}")
    parts = []
    for _ in range(min(1 + int(r.paretovariate(1.1)), 60)):
        text = " ".join(r.choices(WORDS, k=r.randrange(8, 60))).capitalize()
        parts.append(f"<p>{escape(text)}.</p>")
    if r.random() < 0.4:
        keys = list(instance.users)
        parts.append(f"<p>{mention(keys[r.randrange(len(keys))])}</p>")
    if r.random() < 0.4:
        other = instance.contents.get(page.id - r.randrange(1, 9))
        if other is not None and other.kind == "page":
            parts.append(
                f'<p>{link(other.title, "see also", other.space)} <a href="{BASE}/x/{tiny(other.id)}">here</a></p>'
            )
    if r.random() < 0.3:
        parts.append(macro(r.choice(("info", "note", "tip", "panel")), body="<p>Mind the step.</p>"))
    return "".join(parts)
