"""Words, titles, file names and bodies of generated content: many scripts, odd characters, many macros."""

from collections.abc import Callable
from random import Random
from xml.sax.saxutils import escape, quoteattr

from sandbox.sample.build import file_link, image, link, macro, mention, mention_by_name
from sandbox.sample.model import BASE, Content, tiny

FIRST = [
    "Ada",
    "Bo",
    "Cleo",
    "Dov",
    "Elin",
    "Fitz",
    "Gwen",
    "Hugo",
    "Ines",
    "Jory",
    "Kaya",
    "Lev",
    "Mio",
    "Édda",
    "Søren",
    "Łukasz",
    "Zoë",
    "Nguyễn",
    "Оля",
    "Ярослав",
    "美咲",
    "健",
    "ليلى",
    "דנה",
    "Αλέξης",
]
LAST = [
    "Amberley",
    "Bristow-Vale",
    "Cinderhall",
    "Dunmoor",
    "Eastwick",
    "Fallow",
    "Greyling",
    "Hartsease",
    "O'Brannoch",
    "Müßig",
    "Çelik",
    "Орлова",
    "山田",
    "منصور",
    "כהן",
    "Παππάς",
]
NOUNS = [
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
    "Größe",
    "Canoë",
    "Отчёт",
    "Ελληνικά",
    "地図",
    "手順書",
    "회의록",
    "تقويم",
    "לוח",
    "रिपोर्ट",
    "คู่มือ",
]
KINDS = ["Guide", "Notes", "Plan", "Review", "Checklist", "Meeting", "Design", "FAQ"]
#: Titles that readers and writers of URLs, XML and queries stumble over.
ODD = (
    "C++ & <b>“quotes”</b> {n}",
    "100% / done? {n}",
    "../up/{n}",
    "a+b = c; {n}",
    "İstanbul'da ılık {n}",
    "Straße ẞ {n}",
    "東京都 {n} 年度の計画",
    "تقرير الأسبوع {n} (نسخة)",
    "דו״ח שבועי {n}",
    "\u200fמימין לשמאל {n}",
    "👩‍💻🚀 Launch {n} 🏳️‍🌈",
    "e\u0301te\u0301 {n} combining",
    "{n}",
    "#{n} @home",
    "“{n}” 'single' \"double\"",
    "Page: {n}|pipe^caret\\back",
    "~tilde {n}",
    "{n}%20encoded%2F",
    "$" + "{{variable}} {n}",
    "Two  blanks {n}",
    "ﬁ ligature ½ {n}",
)
FILLER = "and so on, as it has always been said, and nobody has dared to shorten it, "
TYPES = {
    "png": "image/png",
    "txt": "text/plain",
    "csv": "text/csv",
    "pdf": "application/pdf",
    "docx": "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
    "xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
    "bin": "application/octet-stream",
    "svg": "image/svg+xml",
}
#: The same few names hang on very many pages, as in life.
FILES = (
    "image.png",
    "screenshot.png",
    "image2021-3-4 10-22-1.png",
    "Budget.xlsx",
    "budget final (2).xlsx",
    "notes.txt",
    "export.csv",
    "Skizze übers Meer 100%+.txt",
    "報告書.pdf",
    "تقرير.docx",
    "diagram & plan #1.svg",
    "minutes.docx",
    "backup.bin",
    "👍.png",
    "README",
)
_PROSE = [
    "the",
    "lamp",
    "is",
    "lit",
    "before",
    "dusk",
    "and",
    "the",
    "ledger",
    "is",
    "kept",
    "by",
    "hand",
    "while",
    "boats",
    "wait",
    "at",
    "the",
    "outer",
    "mark",
    "until",
    "somebody",
    "on",
    "the",
    "pier",
    "has",
    "counted",
    "every",
    "crate",
    "and",
    "signed",
    "for",
    "it",
    "twice",
    "as",
    "the",
    "rules",
    "of",
    "the",
    "harbor",
    "have",
    "said",
    "for",
    "longer",
    "than",
    "anyone",
    "knows",
    "naïve",
    "façade",
    "潮",
    "風",
    "море",
    "свет",
    "نور",
    "ים",
]
_BOXES = ("info", "note", "tip", "warning", "panel", "expand", "excerpt", "section")
_PLAIN = (
    "toc",
    "children",
    "recently-updated",
    "attachments",
    "gallery",
    "pagetree",
    "contributors",
    "livesearch",
    "blog-posts",
)
_APPS = ("drawio", "gliffy", "table-filter", "scroll-ignore", "roadmap", "lucidchart")
#: How many sentences are made beforehand; bodies are put together from them, so that they cost little.
_POOL = 256


def title_of(r: Random, number: int) -> str:
    """Unique among pages of one space by its number; one in fifty odd, one in five hundred of 255 characters."""
    chance = r.random()
    if chance < 0.02 or number % 61 == 7:
        return ODD[r.randrange(len(ODD))].format(n=number)
    stem = f"{NOUNS[r.randrange(len(NOUNS))]} {KINDS[r.randrange(len(KINDS))]} {number}"
    if chance > 0.998 or number % 499 == 5:
        return (f"{stem} " + FILLER * 4)[:254] + "…"
    return stem


class Sentences:
    """The pool of one instance."""

    def __init__(self, seed: int) -> None:
        r = Random(f"sentences:{seed}")
        self.pool = [self._sentence(r) for _ in range(_POOL)]

    @staticmethod
    def _sentence(r: Random) -> str:
        text = " ".join(r.choices(_PROSE, k=r.randrange(5, 28))).capitalize()
        if r.random() < 0.1:
            text = f"<strong>{text}</strong>"
        if r.random() < 0.1:
            text += " &nbsp;&mdash; &amp; so on"
        return f"{text}."

    def paragraph(self, r: Random) -> str:
        pool = self.pool
        return "<p>" + " ".join([pool[int(r.random() * _POOL)] for _ in range(1 + int(r.random() * 5))]) + "</p>"

    def body(self, r: Random, weave: "Weave") -> str:
        """Of a page or blog post. Lengths are skewed: most some hundred bytes, one in a thousand hundreds of kilobytes."""
        blocks = min(int(r.paretovariate(1.05)), 900)
        parts = [self.paragraph(r) for _ in range(blocks)]
        if r.random() < 0.45:
            parts.insert(0, f"<h2>{escape(weave.title[:80])}</h2>")
        while r.random() < 0.55:
            parts.insert(int(r.random() * len(parts)), self._fragment(r, weave))
        return "".join(parts)

    def _fragment(self, r: Random, weave: "Weave") -> str:
        kind = r.randrange(16)
        if kind == 0:
            return f"<p>{mention(weave.person(r))} looks after it.</p>"
        if kind == 1:
            name = weave.name(r)
            return f"<p>Ask {mention_by_name(name)}.</p>" if name else macro("toc")
        if kind in (2, 3, 4):
            other = weave.other(r)
            key = None if other.space == weave.space and r.random() < 0.7 else other.space
            if kind == 4:
                url = (
                    f"{BASE}/x/{tiny(other.id)}"
                    if r.random() < 0.5
                    else f"{BASE}/pages/viewpage.action?pageId={other.id}"
                )
                return f'<p><a href="{url}">over there</a></p>'
            if other.kind == "page":
                return f"<p>{link(other.title, 'see also', key, 'part 2' if r.random() < 0.1 else None)}</p>"
            day = other.created.strftime("%Y/%m/%d")
            return (
                f'<p><ac:link><ri:blog-post ri:space-key="{other.space}" ri:content-title={quoteattr(other.title)} '
                f'ri:posting-day="{day}" /></ac:link></p>'
            )
        if kind == 5:
            return macro(r.choice(_PLAIN))
        if kind in (6, 7):
            return macro(r.choice(_BOXES), body=self.paragraph(r), title="Mind the step")
        if kind == 8:
            return macro(
                "code",
                language="python",
                code="if a[b[0]]>c and x < y:\n    go()  # <ri:user ri:userkey='no'/> & so on",
            )
        if kind == 9:
            return macro(r.choice(_APPS), revision=str(r.randrange(40)), diagram="plan")
        if kind == 10:
            return macro(
                "jira",
                server="Harbor Tracker",
                serverId="5f2b1c9e-0000-3333-8888-0123456789ab",
                key=f"PROJ-{r.randrange(900)}",
            )
        if kind == 11:
            files = weave.files()
            if not files:
                return self.paragraph(r)
            name = files[r.randrange(len(files))]
            return (
                f"<p>{image(name)}</p>" if name.endswith((".png", ".svg")) else f"<p>{file_link(name, 'the file')}</p>"
            )
        if kind == 12:
            rows = "".join(
                f"<tr><td>{n}</td><td>{self.pool[r.randrange(_POOL)]}</td></tr>" for n in range(r.randrange(2, 9))
            )
            return f"<table><tbody><tr><th>No.</th><th>What</th></tr>{rows}</tbody></table>"
        if kind == 13:
            return (
                "<ac:task-list><ac:task><ac:task-id>1</ac:task-id><ac:task-status>incomplete</ac:task-status>"
                f"<ac:task-body>{mention(weave.person(r))} does it</ac:task-body></ac:task></ac:task-list>"
            )
        if kind == 14:
            return (
                macro("status", colour="Green", title="ON TRACK")
                + '<p><ac:emoticon ac:name="tick" /> يتم العمل — הכל טוב 🎉</p>'
            )
        return f'<p><a href="{BASE}/display/{weave.space}">the space</a> <ac:link><ri:space ri:space-key="{weave.space}" /></ac:link></p>'


class Weave:
    """What a body refers to. Each is asked for only when a fragment needs it."""

    def __init__(
        self,
        space: str,
        title: str,
        person: Callable[[Random], str],
        name: Callable[[Random], str | None],
        other: Callable[[Random], Content],
        files: Callable[[], list[str]],
    ) -> None:
        self.space, self.title = space, title
        self.person, self.name, self.other, self.files = person, name, other, files
