"""Wiki South: the Southmere Botanical Garden, famous for its fog. Everything in it is made up."""

from datetime import datetime, timedelta

from sandbox.sample.build import Builder, file_link, image, link, macro, mention, mention_by_name
from sandbox.sample.model import BASE, Group, Inline, Instance, Restriction, tiny

SENTENCES = (
    "Water in the morning, and only from the copper can.",
    "The fog comes up from the lake at four and leaves when it likes.",
    "Labels are written in pencil: ink fades, pencil stays.",
    "The glass roof is washed twice a year by the tallest of us.",
    "Moss is a guest, not a weed.",
    "Seeds are counted by hand and shared by weight.",
    "Nobody knows who planted the third palm.",
    "Paths are raked towards the gate on Saturdays.",
    "Take cuttings on a cloudy day and write down from which plant.",
    "The frogs are staff.",
    "Compost is turned by whoever loses the quiz.",
    "Close the vents before the thunder, not after it.",
)

GARDEN = """
Southmere Garden
  Beds and Borders
    The Fog Border
    The Herb Wheel
    The Blue Bed
      Gentians
      Borage
  Glasshouses
    Palm House
      The Third Palm
    Fern House
    Orchid Shed
      Watering Table
      Feeding Table
  Seed Exchange
    Sending Seeds
    Receiving Seeds
      Quarantine
    Partners
  Calendar
    Spring Jobs
    Summer Jobs
    Autumn Jobs
    Winter Jobs
  Visitors
    Guided Walks
    School Days
    Lost Umbrellas
  Pests & Friends
    Slugs
    Frogs 🐸
    Ants? Ants!
"""

POTTING = """
Potting Shed
  Soil Mixtures
    Mixture A
    Mixture B
    Mixture for Ferns
  Tools
    Copper Can
    Rakes and Their Names
  House Rules
    Tea
    Keys
    Quiz Night
  New Gardeners
    First Day
    First Week
    Who Is Who
  Overview
  概要
"""

GREENHOUSE = """
Old Greenhouse
  Inventory of 1987
  Broken Panes
  Letters
    Letter to the Glazier
    Answer of the Glazier
  Farewell
"""


def south(seed: int) -> Instance:
    instance = Instance("Wiki South", seed, offset=timedelta(0))
    b = Builder(instance, datetime(2019, 4, 2, 8, 0))  # noqa: DTZ001 - the builder puts the instance's offset on it
    b.user("admin", "Southmere Wiki Admin", "garden-admin@example.org")
    b.user("mira.halden", "Mira Halden", "Mira.Halden@example.com")
    b.user("linnet", "Linnet Bracken", "linnet.bracken@example.org")
    b.user("lbracken", "Linnet Bracken (old)", "LINNET.BRACKEN@EXAMPLE.ORG")
    b.user("corin", "Corin Dew", "corin.dew@example.org")
    b.user("hollis", "Hollis Fern", "hollis.fern")
    b.user("perrin", "Perrin Moss", "perrin.moss@example.org", active=False)
    b.user("saffi", "Saffi Thorne", "saffi.thorne@example.org")
    b.user("gate", "Gatehouse", "")
    b.user("doreen", "Doreen Loam", "doreen.loam@example.com")
    everyone = [u.key for u in instance.users.values() if u.active]
    groups = {
        "confluence-users": Group("confluence-users", everyone),
        "confluence-administrators": Group("confluence-administrators", [b.key("admin")]),
        "site-admins": Group("site-admins", [b.key("admin")]),
        "gardeners": Group("gardeners", [b.key("linnet"), b.key("corin")], ["glasshouse"]),
        "glasshouse": Group("glasshouse", [b.key("saffi"), b.key("perrin")], ["gardeners"]),
    }
    instance.groups.update(groups)
    crew = ("linnet", "corin", "saffi", "doreen", "lbracken")
    garden = b.space(
        "GARDEN", "Southmere Garden", "What grows where, and why.", "linnet", keepers="gardeners", anonymous=True
    )
    b.tree(garden, GARDEN, (*crew, "perrin"), SENTENCES)
    shed = b.space("POT", "Potting Shed", "For those who work here.", "corin", members=("gardeners",))
    b.tree(shed, POTTING, crew, SENTENCES)
    old = b.space("OLD", "Old Greenhouse", "Kept for the letters.", "doreen", archived=True)
    b.tree(old, GREENHOUSE, ("doreen", "perrin"), SENTENCES)
    garden.labels.append("public")
    _garden(b)
    _shed(b)
    return instance


def _garden(b: Builder) -> None:
    b.put("GARDEN", "Southmere Garden", macro("toc"), macro("children", depth="1"))
    fog = b.put(
        "GARDEN",
        "The Fog Border",
        f"<p>{image('border.png', 480)}</p>",
        macro("info", body=f"<p>Ask {mention(b.key('linnet'))} before you dig.</p>"),
        '<p>The <ac:inline-comment-marker ac:ref="f0990001-1111-4222-8333-444455556666">north end'
        "</ac:inline-comment-marker> floods.</p>",
        f'<p><a href="{BASE}/x/{tiny(b.page("POT", "Mixture A").id)}">Mixture A</a>, '
        f'<a href="{BASE}/display/POT/Copper+Can">the can</a>, {link("Mixture B", "mixture B", "POT")}, '
        f"{link('Overview', 'overview', 'POT', anchor='top')}</p>",
    )
    b.attach(fog, "border.png", "image/png", 5200, "saffi", versions=2)
    b.attach(b.page("GARDEN", "Palm House"), "border.png", "image/png", 2600, "saffi")
    b.attach(b.page("GARDEN", "Watering Table"), "watering.csv", "text/csv", 2400, "corin", versions=4)
    b.put("GARDEN", "Feeding Table", f"<p>{file_link('watering.csv', 'watering', 'Watering Table')}</p>")
    first = b.comment(fog, "corin", "<p>Can we move the gentians?</p>")
    b.comment(fog, "linnet", f"<p>No, {mention(b.key('corin'))}.</p>", reply_to=first)
    b.comment(fog, "saffi", "<p>How deep?</p>", inline=Inline("f0990001-1111-4222-8333-444455556666", "north end"))
    b.put("GARDEN", "Slugs", macro("code", language="text", code="slugs > frogs ? worry() : tea()"))
    b.put("GARDEN", "Partners", f"<p>{mention_by_name('PERRIN')}, {mention(b.key('someone.else'))}</p>")
    b.put("GARDEN", "Quarantine", macro("jira", server="Harbor Tracker", jqlQuery="project = SEED", maximumIssues="20"))
    b.put("GARDEN", "Guided Walks", macro("tour-planner", route="lake", stops="7"))
    b.restrict(
        b.page("GARDEN", "Quarantine"),
        Restriction("read", group="glasshouse"),
        Restriction("update", user=b.key("saffi")),
    )
    b.label(b.page("GARDEN", "Slugs"), "pest")
    b.label(b.page("GARDEN", "Frogs 🐸"), "friend", "staff")
    b.page("GARDEN", "Partners").creator = b.key("someone.else")
    for title, at in (("The fog is late", (2022, 10, 4, 7, 5)), ("Seeds for everyone", (2023, 2, 11, 16, 40))):
        when = datetime(*at, tzinfo=b.instance.timezone)
        post = b.post("GARDEN", title, "linnet", f"<p>{title}, says {mention(b.key('doreen'))}.</p>", when)
        b.comment(post, "corin", "<p>Good.</p>")
    trashed = b.content("page", "GARDEN", "Plastic Flowers", "doreen", body="<p>No.</p>")
    trashed.status = "trashed"
    b.instance.add(trashed)


def _shed(b: Builder) -> None:
    b.put(
        "POT",
        "Who Is Who",
        f"<p>{mention(b.key('linnet'))} {mention(b.key('hollis'))} {mention(b.key('mira.halden'))}</p>",
    )
    rules = b.put("POT", "House Rules", macro("tip", body="<p>Tea is at four.</p>"), macro("children"))
    b.comment(rules, "hollis", "<p>And at ten.</p>")
    b.restrict(b.page("POT", "Keys"), Restriction("read", group="gardeners"), Restriction("read", user=b.key("admin")))
    b.attach(b.page("POT", "Keys"), "key plan.txt", "text/plain", 640, "gate")
    b.comment(b.page("OLD", "Farewell"), "perrin", "<p>Goodbye.</p>")
    b.attach(b.page("OLD", "Inventory of 1987"), "inventory.pdf", "application/pdf", 18_000, "doreen")
