"""Wiki North: the Northlight Observatory, on an island without a bridge. Everything in it is made up."""

from datetime import datetime, timedelta

from sandbox.sample.build import Builder, file_link, image, link, macro, mention, mention_by_name
from sandbox.sample.model import BASE, Group, Inline, Instance, Restriction, tiny

SENTENCES = (
    "The dome opens to the west first, because the wind comes from the east.",
    "Two people are on duty every night, and one of them is awake.",
    "The log is written in pencil and copied here on Mondays.",
    "A clear night is worth more than a warm bed.",
    "Guests wear felt slippers on the iron floor.",
    "The clock runs four seconds slow and nobody has dared to touch it.",
    "If the foghorn sounds, the mirror is covered before anything else.",
    "Spare fuses are in the tea tin on the second shelf.",
    "The ferry brings mail on Tuesdays, weather permitting.",
    "Please leave the small lamp red.",
    "Every measurement is taken three times by two people.",
    "The cat is not to be weighed on the instrument scale.",
    "We count stars from the top down, as our founders did.",
    "When in doubt, write down what you saw and what you thought you saw.",
)

OPERATIONS = """
Observatory Operations
  Night Shift Handbook
    Opening the Dome
    Closing the Dome
    Weather Holds
      Wind Limits
      Fog and Dew
      Ice on the Rails
  Instruments
    Great Refractor
      Lens Cleaning
      Drive Clock
    Comet Seeker
    Spectrograph
      Calibration Lamps
  Emergency Procedures
    Power Loss
    Stuck Shutter
    Who to Call
  Supply Runs
    Ferry Timetable
    Mule Track in Winter
  Meetings
    2024-02 Crew Meeting
    2024-03 Crew Meeting
    2024-04 Crew Meeting
  The Night the Dome Turned Backwards
"""

LONG = (
    "On the Question Whether the Faint Patch Seen Below the Third Star of the Lantern Is a Nebula, a Smudge on the "
    "Eyepiece, or the Reflection of the Caretaker's Candle, with Remarks by Everyone Who Was Present and Several Who "
    "Were Not, Kept for Years"
)

ATLAS = f"""
The Sky Atlas
  How to Read This Atlas
    Names and Numbers
    Colors on the Plates
  Northern Plates
    The Lantern
    The Ferryman
    The Three Kettles
    Große Bärin
    北斗七星
    نجوم الشمال
  Southern Plates
    The Anchor
    The Broken Oar
    Le Phare Éteint
  Comets ☄️
    Comet of the Long Winter
    The One That Came Back
    C++ Notes on "Orbits" & <Ellipses>
  Variable Stars
    Pulsing Stars
      Night 1
      Night 2
      Night 3
      Night 4
    Eclipsing Pairs
  Method
    Sketching at the Eyepiece
    100% Cloud / Clear?
    Counting + Recounting
    Plate Archive
  {LONG}
  Glossary
"""

PERSONAL = """
Mira's Desk
  Reading List
  Soup Recipes
  Half-finished Ideas
    Ideas? (draft of a draft)
"""


def north(seed: int) -> Instance:
    instance = Instance("Wiki North", seed, offset=timedelta(hours=2))
    b = Builder(instance, datetime(2021, 3, 1, 9, 0))  # noqa: DTZ001 - the builder puts the instance's offset on it
    b.user("admin", "Northlight Wiki Admin", "wiki-admin@example.com")
    b.user("mira.halden", "Mira Halden", "mira.halden@example.com")
    b.user("otis", "Otis Quillfeather", "otis.q@example.com")
    b.user("oquill", "O. Quillfeather", "Otis.Q@Example.com")
    b.user("pell.rook", "Pell Rook", "pell.rook(at)example.com")
    b.user("tamsin", "Tamsin Ferrow", "tamsin.ferrow@example.com")
    b.user("bram.oake", "Bram Oake", "bram.oake@example.org", directory="Island Directory")
    b.user("ilse.vantor", "Ilse Vantor", "ilse.vantor@example.org", directory="Island Directory")
    b.user("juno.sprat", "Juno Sprat", None)
    b.user("wendel", "Wendel Marrow", "wendel.marrow@example.com", active=False)
    b.user("edda.lune", "Édda Lune", "edda.lune@example.com")
    b.user("svc-weather", "Weather Station", "station@@example.com")
    everyone = [u.key for u in instance.users.values() if u.active]
    groups = {
        "confluence-users": Group("confluence-users", everyone),
        "confluence-administrators": Group("confluence-administrators", [b.key("admin")]),
        "site-admins": Group("site-admins", [b.key("admin"), b.key("mira.halden")]),
        "observers": Group("observers", [b.key("mira.halden"), b.key("edda.lune")], ["night-shift"]),
        "night-shift": Group("night-shift", [b.key("otis"), b.key("tamsin"), b.key("pell.rook")], ["apprentices"]),
        "apprentices": Group("apprentices", [b.key("juno.sprat")]),
        "islanders": Group("islanders", [b.key("bram.oake"), b.key("ilse.vantor")], directory="Island Directory"),
        "lamp keepers": Group("lamp keepers"),
    }
    instance.groups.update(groups)
    crew = ("mira.halden", "otis", "tamsin", "edda.lune", "bram.oake", "pell.rook")

    operations = b.space(
        "OPS",
        "Observatory Operations",
        "How the observatory is run, night by night.",
        "mira.halden",
        keepers="observers",
    )
    b.tree(operations, OPERATIONS, crew, SENTENCES)
    atlas = b.space(
        "SKY", "The Sky Atlas", "Every star we have counted, and some we have not.", "edda.lune", anonymous=True
    )
    b.tree(atlas, ATLAS, (*crew, "wendel"), SENTENCES)
    desk = b.space("~mira.halden", "Mira Halden", "", "mira.halden", members=())
    b.tree(desk, PERSONAL, ("mira.halden",), SENTENCES)
    atlas.labels.append("astronomy")
    _operations(b)
    _atlas(b)
    _desk(b)
    return instance


def _operations(b: Builder) -> None:
    b.put("OPS", "Observatory Operations", macro("toc", maxLevel="3"), macro("children", depth="2"))
    b.put(
        "OPS",
        "Power Loss",
        macro("warning", body="<p>Cover the mirror before you look for the fuse.</p>"),
        f"<p>Then call {mention(b.key('otis'))} or {mention(b.key('wendel'))}.</p>",
        f"<p>See {link('Who to Call', 'the list')} and {link('The Lantern', 'plate 1', 'SKY')}.</p>",
        macro("jira", server="Harbor Tracker", serverId="5f2b1c9e-0000-3333-8888-0123456789ab", key="DOME-42"),
    )
    b.put(
        "OPS",
        "Drive Clock",
        macro(
            "code", language="python", code="if drift > 4 and not dared:\n    leave_it()  # <ri:user ri:userkey='no'/>"
        ),
        macro("cogwheel-diagram", diagram="drive-clock", revision="7"),
    )
    b.label(b.page("OPS", "Power Loss"), "emergency", "runbook")
    b.label(b.page("OPS", "Stuck Shutter"), "emergency")
    b.label(b.page("OPS", "Stuck Shutter"), "favourite", prefix="my")
    b.restrict(
        b.page("OPS", "Who to Call"),
        Restriction("read", group="observers"),
        Restriction("read", user=b.key("admin")),
        Restriction("update", user=b.key("mira.halden")),
    )
    timetable = b.page("OPS", "Ferry Timetable")
    b.attach(timetable, "timetable.csv", "text/csv", 900, "bram.oake", versions=3, comment="Winter times")
    b.put(
        "OPS",
        "Ferry Timetable",
        f"<p>{file_link('timetable.csv', 'The table')}</p>",
        macro("info", body="<p>No ferry in fog.</p>"),
    )
    b.comment(timetable, "tamsin", "<p>The Tuesday boat left early again.</p>")
    b.post("OPS", "New fuses have arrived", "otis", "<p>Two dozen, in the tea tin.</p>")
    b.post("OPS", "Inspection on Friday", "tamsin", f"<p>{mention(b.key('mira.halden'))} shows them around.</p>")


def _atlas(b: Builder) -> None:
    lantern = b.page("SKY", "The Lantern")
    picture = b.attach(lantern, "plate.png", "image/png", 4200, "edda.lune", versions=2)
    b.attach(b.page("SKY", "The Ferryman"), "plate.png", "image/png", 3100, "edda.lune")
    b.attach(b.page("SKY", "The Anchor"), "plate.png", "image/png", 3300, "otis")
    b.attach(lantern, "Skizze übers Meer 100%+.txt", "text/plain", 700, "otis")
    archive = b.attach(b.page("SKY", "Plate Archive"), "plates-1931.bin", "application/octet-stream", 260_000, "tamsin")
    b.label(archive, "archive")
    lost = b.attach(b.page("SKY", "Plate Archive"), "lost-plate.bin", "application/octet-stream", 5000, "tamsin")
    lost.missing_file = True
    b.put(
        "SKY",
        "The Lantern",
        f"<p>{image('plate.png')}</p>",
        '<p>The third star is <ac:inline-comment-marker ac:ref="0c0ffee0-1111-4222-8333-444455556666">brighter than it '
        "should be</ac:inline-comment-marker> since the spring.</p>",
        f"<p>{file_link('Skizze übers Meer 100%+.txt', 'Sketch')}, {link('Opening the Dome', 'how we open', 'OPS')}, "
        f'<a href="{BASE}/x/{tiny(b.page("OPS", "Great Refractor").id)}">the refractor</a>, '
        f'<a href="{BASE}/display/OPS/Lens+Cleaning">cleaning</a>, '
        f'<a href="{BASE}/pages/viewpage.action?pageId={b.page("SKY", "Glossary").id}#L">glossary</a>.</p>',
    )
    first = b.comment(lantern, "otis", "<p>I saw it too, on Thursday.</p>")
    reply = b.comment(lantern, "edda.lune", f"<p>Thank you {mention(b.key('otis'))}, added.</p>", reply_to=first)
    b.comment(lantern, "pell.rook", "<p>It was Wednesday.</p>", reply_to=reply)
    question = b.comment(
        lantern,
        "tamsin",
        "<p>How much brighter?</p>",
        inline=Inline("0c0ffee0-1111-4222-8333-444455556666", "brighter than it should be"),
    )
    b.comment(lantern, "edda.lune", "<p>By half a magnitude.</p>", reply_to=question)
    b.comment(
        b.page("SKY", "Glossary"),
        "wendel",
        "<p>Typo.</p>",
        inline=Inline("0c0ffee0-7777-4222-8333-444455556666", "lumniosity", "resolved"),
    )
    b.comment(picture, "edda.lune", "<p>A comment on the picture itself.</p>")
    b.put("SKY", "The Sky Atlas", macro("toc"), macro("children"), macro("recently-updated", spaces="SKY"))
    b.put("SKY", "Pulsing Stars", macro("expand", title="Older nights", body="<p>See the pages below.</p>"))
    b.put(
        "SKY",
        "Große Bärin",
        f"<p>Gezeichnet von {mention_by_name('Otis')} und {mention(b.key('vesper.gone'))}.</p>",
        f"<p>{link('北斗七星', '七')} {link('نجوم الشمال', 'نجوم')}</p>",
    )
    b.put(
        "SKY",
        "Sketching at the Eyepiece",
        macro("gallery-of-plates", source="SKY"),
        macro("note", body="<p>Felt slippers.</p>"),
    )
    b.put(
        "SKY",
        "Counting + Recounting",
        "<table><tbody><tr><th>Night</th><th>Stars</th></tr><tr><td>1</td><td>1&nbsp;204</td></tr></tbody></table>",
        "<ac:task-list><ac:task><ac:task-id>1</ac:task-id><ac:task-status>incomplete</ac:task-status>"
        f"<ac:task-body>{mention(b.key('juno.sprat'))} counts again</ac:task-body></ac:task></ac:task-list>",
    )
    gone = b.page("SKY", "Comet of the Long Winter")
    gone.creator = b.key("vesper.gone")  # deleted from the directory: the key no longer resolves
    b.label(lantern, "plate", "northern")
    b.label(b.page("SKY", "The Anchor"), "plate", "southern")
    b.restrict(b.page("SKY", "Method"), Restriction("update", group="observers"))
    b.restrict(
        b.page("SKY", "100% Cloud / Clear?"),
        Restriction("read", user=b.key("edda.lune")),
        Restriction("read", group="night-shift"),
    )
    b.page("SKY", "Glossary").properties = (("atlas-edition", {"edition": 4, "plates": 31}),)
    b.page("SKY", "Glossary").watchers = (b.key("tamsin"),)
    zone = b.instance.timezone
    post = b.post(
        "SKY",
        "First light",
        "edda.lune",
        f"<p>We opened on {link('The Lantern', 'the Lantern')}.</p>",
        datetime(2023, 5, 2, 0, 30, tzinfo=zone),
    )
    b.comment(post, "bram.oake", "<p>Congratulations from the harbor.</p>")
    b.post(
        "SKY", "The comet is back", "mira.halden", "<p>And brighter.</p>", datetime(2024, 1, 30, 21, 15, tzinfo=zone)
    )
    b.put(
        "SKY",
        "The One That Came Back",
        '<p><ac:link><ri:blog-post ri:space-key="SKY" ri:content-title="The comet is back" '
        'ri:posting-day="2024/01/30" /></ac:link> <ac:link><ri:space ri:space-key="OPS" /></ac:link></p>',
    )
    for title in ("Night 1", "Night 2", "Night 3", "Night 4"):
        page = b.page("SKY", title)
        b.attach(page, f"light-curve-{title[-1]}.csv", "text/csv", 1500, "svc-weather")
        b.comment(page, "juno.sprat", f"<p>Checked {title.lower()}.</p>")
    trashed = b.content("page", "SKY", "Withdrawn Plate", "otis", body="<p>Not a star.</p>")
    trashed.status = "trashed"
    trashed.parent = b.page("SKY", "Northern Plates").id
    b.instance.add(trashed)
    b.comment(trashed, "otis", "<p>Goes with its page.</p>")
    draft = b.content("page", "SKY", "Unfinished Plate", "otis", body="<p>Half a star.</p>")
    draft.status = "draft"
    b.instance.add(draft)


def _desk(b: Builder) -> None:
    b.put("~mira.halden", "Reading List", f"<p>{link('Glossary', 'Glossary first', 'SKY')}</p>")
    b.restrict(b.page("~mira.halden", "Half-finished Ideas"), Restriction("read", user=b.key("mira.halden")))
    b.comment(b.page("~mira.halden", "Soup Recipes"), "otis", "<p>More dill.</p>")
