"""Which macros of Confluence Server and Data Center there are on Cloud. Data, not code.

The table is cautious: it says "available" of macros that both products document under the same name, "unavailable" of those
that run code of the page's author, which Cloud does not allow, and "check" of Confluence's own macros that not every editor of
Cloud has. A name that is not here comes from an app or is a user macro: its vendor says whether there is a Cloud version.
"""

from typing import Literal, NamedTuple

Availability = Literal["available", "check", "unavailable", "app"]


class Macro(NamedTuple):
    availability: Availability
    note: str


_SAME = Macro("available", "")
_GONE = "Cloud has no such macro, because it runs code of the page's author."
_CHECK = "One of Confluence's own, but not in every editor of Cloud: look at a page of a test run."

_AVAILABLE = [
    "anchor",
    "attachments",
    "change-history",
    "children",
    "code",
    "contentbylabel",
    "contributors",
    "contributors-summary",
    "create-from-template",
    "detailssummary",
    "details",
    "excerpt",
    "excerpt-include",
    "expand",
    "include",
    "info",
    "jira",
    "livesearch",
    "multimedia",
    "noformat",
    "note",
    "pagetree",
    "pagetreesearch",
    "panel",
    "popular-labels",
    "profile",
    "profile-picture",
    "recently-updated",
    "roadmap",
    "status",
    "tasks-report-macro",
    "tip",
    "toc",
    "toc-zone",
    "viewdoc",
    "viewfile",
    "viewpdf",
    "viewppt",
    "viewxls",
    "warning",
    "widget",
    "blog-posts",
    "decisionreport",
]
_TO_CHECK = [
    "bookmarks",
    "chart",
    "cheese",
    "column",
    "content-report-table",
    "contentbyuser",
    "favpages",
    "gadget",
    "gallery",
    "global-reports",
    "iframe",
    "im",
    "index",
    "jirachart",
    "jiraissues",
    "junitreport",
    "labels-list",
    "listlabels",
    "loremipsum",
    "navmap",
    "network",
    "recentlyviewed",
    "recently-updated-dashboard",
    "related-labels",
    "rss",
    "search",
    "section",
    "space-attachments",
    "space-details",
    "spaces",
    "task-list",
    "userlister",
]
_UNAVAILABLE = ("html", "html-include")

MACROS: dict[str, Macro] = {
    **dict.fromkeys(_AVAILABLE, _SAME),
    **{name: Macro("check", _CHECK) for name in _TO_CHECK},
    **{name: Macro("unavailable", _GONE) for name in _UNAVAILABLE},
}
_APP = Macro("app", "Comes with an app or is a user macro: look for the app's Cloud version, then install it.")


def macro(name: str) -> Macro:
    """What becomes of a macro on Cloud.

    >>> macro("toc").availability, macro("html").availability, macro("drawio").availability
    ('available', 'unavailable', 'app')
    """
    return MACROS.get(name.lower(), _APP)
