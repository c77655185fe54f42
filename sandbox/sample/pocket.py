"""Wiki Pocket: an islet with one of everything, small enough to be moved hundreds of times. Everything in it is made up.

What is restricted, and all that hangs on it, holds the word ``HUSH`` in its title, text or file name; nothing else does. So
any answer that shows the word to someone who may not see it gives the mistake away.
"""

from datetime import datetime, timedelta

from sandbox.sample.build import Builder, file_link, image, link, macro, mention
from sandbox.sample.model import BASE, Group, Inline, Instance, Restriction, tiny

#: In everything that is restricted, and nowhere else.
HUSH = "hushmere"
#: The marker of a comment on a piece of text.
WIND = "b0a70000-1111-4222-8333-444455556666"

SENTENCES = (
    "The islet has one lamp and two keys.",
    "At low water you can walk across, if you are quick.",
    "Sheep count the boats.",
    "The tide table hangs upside down for a reason.",
)

ISLE = """
Pocket Isle
  North Shore
    Lamp
    Landing
  South Shore
    Slipway
  Hushmere Vault
    Hushmere Drawer
"""

QUAY = """
Little Quay
  Ropes
  Ledger
  Hushmere Till
"""

MOLE = """
Old Mole
  Stones
"""


def pocket(seed: int) -> Instance:
    instance = Instance("Wiki Pocket", seed, offset=timedelta(0))
    b = Builder(instance, datetime(2021, 3, 1, 8, 0))  # noqa: DTZ001 - the builder puts the instance's offset on it
    b.user("admin", "Pocket Admin", "pocket-admin@example.org")
    b.user("ada", "Ada Tern", "ada.tern@example.org")
    b.user("bo", "Bo Plover", "bo.plover@example.org")
    b.user("cy", "Cy Dunlin", "cy.dunlin@example.org")
    b.user("dee", "Dee Knot", "dee.knot@example.org", active=False)
    b.user("fen", "Fen Ruff", "fen.ruff@example.org")
    everyone = [u.key for u in instance.users.values() if u.active]
    instance.groups.update(
        {
            "confluence-users": Group("confluence-users", everyone),
            "confluence-administrators": Group("confluence-administrators", [b.key("admin")]),
            "keepers": Group("keepers", [b.key("ada"), b.key("bo")]),
            "ferry": Group("ferry", [b.key("cy"), b.key("ada")]),
        }
    )
    crew = ("ada", "bo", "cy")
    isle = b.space("ISLE", "Pocket Isle", "One of everything.", "ada", keepers="keepers", anonymous=True)
    b.tree(isle, ISLE, crew, SENTENCES)
    quay = b.space("QUAY", "Little Quay", "For those who sail.", "bo", members=("ferry", "keepers"))
    b.tree(quay, QUAY, crew, SENTENCES)
    mole = b.space("MOLE", "Old Mole", "Stones, mostly.", "cy")
    b.tree(mole, MOLE, crew, SENTENCES)
    _isle(b)
    _quay(b)
    return instance


def _isle(b: Builder) -> None:
    lamp = b.put(
        "ISLE",
        "Lamp",
        f"<p>{image('lamp.png')} {link('Slipway', 'the slipway')} {link('Ledger', 'the ledger', 'QUAY')} "
        f'<a href="{BASE}/x/{tiny(b.page("QUAY", "Ropes").id)}">ropes</a> {mention(b.key("bo"))}</p>',
        macro("info", body="<p>Mind the step.</p>"),
    )
    shore = b.put(
        "ISLE",
        "North Shore",
        f'<p><a href="{BASE}/pages/viewpage.action?pageId={b.page("ISLE", "Slipway").id}">slipway</a></p>',
        f'<p>The <ac:inline-comment-marker ac:ref="{WIND}">wind</ac:inline-comment-marker> never rests.</p>',
    )
    b.label(b.attach(lamp, "lamp.png", "image/png", 900, "ada", versions=2), "picture")
    b.attach(lamp, "oil.csv", "text/csv", 600, "bo")
    b.attach(b.page("ISLE", "Landing"), "lamp.png", "image/png", 700, "cy")
    b.put("ISLE", "Landing", f"<p>{file_link('oil.csv', 'oil', 'Lamp')}</p>")
    windy = b.comment(shore, "cy", "<p>Which one?</p>", inline=Inline(WIND, "wind"))
    b.comment(shore, "bo", "<p>The north one.</p>", reply_to=windy)
    first = b.comment(lamp, "bo", "<p>Lit.</p>")
    b.comment(lamp, "cy", "<p>Lit.</p>")
    b.comment(lamp, "ada", "<p>Thanks.</p>", reply_to=first)
    b.comment(lamp, "cy", "<p>Thanks.</p>", reply_to=first)
    b.comment(b.page("ISLE", "Landing"), "fen", "<p>Lit.</p>")
    b.label(lamp, "light", "north")
    b.label(b.page("ISLE", "Landing"), "north")
    vault = b.put("ISLE", "Hushmere Vault", f"<p>The {HUSH} numbers are behind the clock.</p>")
    b.put("ISLE", "Hushmere Drawer", f"<p>Left drawer, says {HUSH}.</p>")
    b.restrict(vault, Restriction("read", group="keepers"), Restriction("update", user=b.key("ada")))
    b.attach(vault, f"{HUSH}-plan.txt", "text/plain", 400, "ada")
    b.comment(vault, "bo", f"<p>And the {HUSH} key?</p>")
    for title, at in (("Tides", (2022, 4, 1, 6, 0)), ("Tides", (2022, 5, 1, 6, 0)), ("A seal", (2022, 6, 2, 9, 30))):
        post = b.post("ISLE", title, "ada", f"<p>{title}.</p>", datetime(*at, tzinfo=b.instance.timezone))
        b.comment(post, "bo", "<p>Seen.</p>")


def _quay(b: Builder) -> None:
    till = b.put("QUAY", "Hushmere Till", f"<p>Count twice, {HUSH}.</p>")
    b.restrict(till, Restriction("read", user=b.key("bo")))
    b.attach(b.page("QUAY", "Ledger"), "ledger.pdf", "application/pdf", 2_000, "bo", comment="Scanned")
    b.comment(b.page("QUAY", "Ropes"), "cy", "<p>Splice it.</p>")
    b.post("QUAY", "New rope", "bo", f"<p>{link('Ropes', 'See')}.</p>")
