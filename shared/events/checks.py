"""The checks before a run: one closed list of stable names, each with its meaning, what to do, and whether it forbids the run.

Names are what events hold; sentences are for people and may be improved. What a check found is kept beside the log.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Literal


class Check(StrEnum):
    # forbid the run
    UPDATE_REQUIRED = "update_required"
    CONSENT = "consent"
    ADDRESSES = "addresses"
    SOURCE_REACHABLE = "source_reachable"
    SITE_REACHABLE = "site_reachable"
    CREDENTIALS = "credentials"
    DOMAINS = "domains"
    # foretell what will not go right
    SITE_ADMIN = "site_admin"
    SPACE_KEYS = "space_keys"
    CONFLICT_FROM_EARLIER_PLAN = "conflict_from_earlier_plan"
    GROUP_MERGES = "group_merges"
    GENERIC_GROUPS = "generic_groups"
    EXTERNAL_DIRECTORY = "external_directory"
    LICENCE_SEATS = "licence_seats"
    MAILS_DURING_RUN = "mails_during_run"
    JIRA_BEFORE_CONFLUENCE = "jira_before_confluence"
    GLOBAL_SETTINGS = "global_settings"
    MISSING_FILES = "missing_files"
    ATTACHMENT_LIMITS = "attachment_limits"
    BODY_LIMITS = "body_limits"
    TITLE_CLASHES = "title_clashes"
    RESTRICTIONS_BY_DEPARTED = "restrictions_by_departed"
    MACROS_UNAVAILABLE = "macros_unavailable"
    SOURCE_CHANGED = "source_changed"
    CLOCK_SKEW = "clock_skew"
    RATE_LIMITS = "rate_limits"
    DURATION = "duration"


Result = Literal["passed", "warning", "error", "not_checked"]


@dataclass(frozen=True, slots=True)
class Explained:
    """``asks``: what has to be asked for it; None: what is recorded is enough, and it is judged anew each time."""

    meaning: str
    way_on: str
    blocks: bool = False
    excludable: bool = False
    asks: Literal["source", "site"] | None = None


def guide(check: Check) -> str:
    """Where the guide explains it.

    >>> guide(Check.SPACE_KEYS)
    'docs/guide/plan-and-run.md#space_keys'
    """
    return f"docs/guide/plan-and-run.md#{check.value}"


CHECKS: dict[Check, Explained] = {
    Check.UPDATE_REQUIRED: Explained(
        "All services are of one release, the database is migrated for it, and it is not below the least release that the"
        " operator set.",
        "Ask the operator to bring all services to one release: cloudward db upgrade, then the services.",
        blocks=True,
    ),
    Check.CONSENT: Explained(
        "Somebody agreed that data of this source are copied to this site.",
        "Run the plan with --consent; who and when is recorded.",
        blocks=True,
    ),
    Check.ADDRESSES: Explained(
        "No person of the source has an invalid or duplicate e-mail address that nobody decided about, and none an unknown"
        " one where users move.",
        "Repair them where they are kept (internal directory, LDAP or Crowd, Jira), or decide: cloudward source repair.",
        blocks=True,
    ),
    Check.SOURCE_REACHABLE: Explained(
        "The source answers and accepts the credential.",
        "Check address and network; give another credential: cloudward source credential.",
        blocks=True,
        asks="source",
    ),
    Check.SITE_REACHABLE: Explained(
        "The site answers and accepts the credential.",
        "Check address and network; give another credential, cloudward site credential, or log in: cloudward site login.",
        blocks=True,
        asks="site",
    ),
    Check.CREDENTIALS: Explained(
        "The site's credential suffices for every operation of this plan.",
        "Give the credential that is named, or take what needs it out of the plan.",
        blocks=True,
        asks="site",
    ),
    Check.DOMAINS: Explained(
        "The e-mail domains of all people who move are trusted: nobody gets an account by an address of another.",
        "Review the domains of the source and mark those that are yours: cloudward source domains SOURCE --trust DOMAIN, or"
        " --trust-all.",
        blocks=True,
    ),
    Check.SITE_ADMIN: Explained(
        "The account that writes to the site is a site administrator.",
        "Log in as one, or give the account that right.",
        asks="site",
    ),
    Check.SPACE_KEYS: Explained(
        "No key that a space would get is taken on the site, in any case of letters. Spaces in the trash and those that the"
        " account cannot see are found only when the space is created.",
        "Give the space a new key, leave it out, skip it, or remove the other space. The others move all the same.",
        excludable=True,
        asks="site",
    ),
    Check.CONFLICT_FROM_EARLIER_PLAN: Explained(
        "No plan of ours has moved one of these spaces to this site before.",
        "Undo that plan, reset the site, give the space a new key, or leave it out.",
        excludable=True,
    ),
    Check.GROUP_MERGES: Explained(
        "No group that moves has the name of a group of the site, in any product: its members would merge into it and"
        " inherit what it gives.",
        "Rename or drop the group with a map, or intend the merge.",
        excludable=True,
        asks="site",
    ),
    Check.GENERIC_GROUPS: Explained(
        "The four generic groups never move; their members move as people.",
        "Add the people to those groups by hand afterwards; the report lists them.",
        excludable=True,
    ),
    Check.EXTERNAL_DIRECTORY: Explained(
        "No person or group of the source comes from an external directory.",
        "Synchronize the directories with the source before you migrate.",
        excludable=True,
    ),
    Check.LICENCE_SEATS: Explained(
        "How many licence seats the people with access take.", "Compare with the site's subscription.", excludable=True
    ),
    Check.MAILS_DURING_RUN: Explained(
        "The run sends no mail. Accounts that are created one by one mail people who have no Atlassian account yet.",
        "Give an organization key, by which accounts are invited silently, or tell people beforehand.",
        excludable=True,
        asks="site",
    ),
    Check.JIRA_BEFORE_CONFLUENCE: Explained(
        "Jira is not there, or was migrated before. Migrated afterwards it may overwrite migrated data.",
        "Migrate Jira first; exclude this check if it is migrated or absent.",
        excludable=True,
        asks="site",
    ),
    Check.GLOBAL_SETTINGS: Explained(
        "Global settings and global permissions never move.", "Set them by hand on the site.", excludable=True
    ),
    Check.MISSING_FILES: Explained(
        "Every attachment has its file at the source.", "Find the files in a backup.", excludable=True
    ),
    Check.ATTACHMENT_LIMITS: Explained(
        "No attachment is larger than the site takes.", "Raise the site's limit, or move them by hand.", excludable=True
    ),
    Check.BODY_LIMITS: Explained(
        "No body is larger than 5 MB, the most the site takes.", "Split the pages at the source.", excludable=True
    ),
    Check.TITLE_CLASHES: Explained(
        "No two pages of a space have titles that differ in the case of letters only.",
        "Rename one at the source; else one is renamed on the way, and links follow.",
        excludable=True,
    ),
    Check.RESTRICTIONS_BY_DEPARTED: Explained(
        "No page is restricted to people only who have left.",
        "Change the restriction at the source; else the page stays closed and is listed.",
        excludable=True,
    ),
    Check.MACROS_UNAVAILABLE: Explained(
        "All macros in the spaces are available on Cloud.", "Install the apps, or replace the macros.", excludable=True
    ),
    Check.SOURCE_CHANGED: Explained(
        "The source is as it was when it was analyzed.", "Analyze it again: cloudward analyze SOURCE.", excludable=True
    ),
    Check.CLOCK_SKEW: Explained(
        "The clocks of this machine and the database agree.", "Set the clocks by NTP.", excludable=True
    ),
    Check.RATE_LIMITS: Explained(
        "The site does not hold back requests now.", "Start later, or with fewer executors.", excludable=True
    ),
    Check.DURATION: Explained(
        "How long the run may take, from the measured rate of earlier runs.", "Plan the time.", excludable=True
    ),
}
