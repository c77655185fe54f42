"""Why something was skipped or failed, or moved with a defect: one closed list of codes, each with its meaning and a way on.

Codes are what events hold. The sentences are for people and may be improved at any time; a code never changes its meaning.
"""

from dataclasses import dataclass
from enum import StrEnum


class Reason(StrEnum):
    # nothing is wrong with the entity
    PLAN_STOPPED = "plan_stopped"
    SPACE_FAILED = "space_failed"
    NOT_SELECTED = "not_selected"
    GENERIC_GROUP = "generic_group"
    DIRECTORY_GROUP = "directory_group"
    ACCESS_WITHHELD = "access_withheld"
    GROUP_DROPPED = "group_dropped"
    NO_CLOUD_COUNTERPART = "no_cloud_counterpart"
    # the source
    FILE_MISSING = "file_missing"
    CONTAINER_MISSING = "container_missing"
    GONE_AT_SOURCE = "gone_at_source"
    SOURCE_UNREADABLE = "source_unreadable"
    BODY_UNREADABLE = "body_unreadable"
    ADDRESS_INVALID = "address_invalid"
    ADDRESS_UNKNOWN = "address_unknown"
    # the site
    SPACE_KEY_CONFLICT = "space_key_conflict"
    SPACE_NOT_CREATED = "space_not_created"
    SPACE_BUSY = "space_busy"
    TITLE_CLASH = "title_clash"
    TOO_LARGE = "too_large"
    SITE_REFUSED = "site_refused"
    SITE_FORBIDS = "site_forbids"
    SITE_UNAVAILABLE = "site_unavailable"
    CREDENTIAL_REFUSED = "credential_refused"
    ROLES_SITE = "roles_site"
    KEPT_PRIVATE = "kept_private"
    VIEWING_NOT_GRANTED = "viewing_not_granted"
    CHANGED_ON_SITE = "changed_on_site"
    GONE_ON_SITE = "gone_on_site"
    PRINCIPAL_NOT_ON_SITE = "principal_not_on_site"
    ACCOUNT_HIDDEN = "account_hidden"
    ACCESS_GROUP_UNNAMED = "access_group_unnamed"
    SEATS_EXHAUSTED = "seats_exhausted"
    KEPT_CLOSED = "kept_closed"
    NOT_IN_A_ROLE = "not_in_a_role"
    PLACE_NOT_FOUND = "place_not_found"
    VERSIONS_INCOMPLETE = "versions_incomplete"
    # an undo
    UNDONE = "undone"
    IN_USE = "in_use"
    ACCOUNT_STAYS = "account_stays"
    # an invitation
    INVITATION_UNKNOWN = "invitation_unknown"
    ACCESS_ENDED = "access_ended"
    NO_ORGANIZATION = "no_organization"
    # what it hangs on
    PARENT_NOT_MOVED = "parent_not_moved"
    # this product
    CRASHED_EXECUTOR = "crashed_executor"
    UNEXPECTED_ERROR = "unexpected_error"
    VERIFICATION_DIFFERENCE = "verification_difference"


@dataclass(frozen=True, slots=True)
class Explanation:
    """``meaning`` is a whole sentence; ``way_on`` tells what a person can do, also a sentence."""

    meaning: str
    way_on: str


EXPLANATIONS: dict[Reason, Explanation] = {
    Reason.PLAN_STOPPED: Explanation("The plan was stopped before this began.", "Continue in a new plan."),
    Reason.SPACE_FAILED: Explanation(
        "Its space failed before this began.", "Mend what made the space fail, then retry."
    ),
    Reason.NOT_SELECTED: Explanation("The plan leaves it out.", "Choose it in another plan."),
    Reason.GENERIC_GROUP: Explanation(
        "This generic group never moves and never merges.", "Add its members by hand to the group of the site."
    ),
    Reason.DIRECTORY_GROUP: Explanation(
        "A directory owns the group on the site; it is read-only there.", "Add the members in that directory."
    ),
    Reason.ACCESS_WITHHELD: Explanation(
        "The person is to have no access, and the group could give it.", "Let a later run move the users."
    ),
    Reason.GROUP_DROPPED: Explanation("The plan's map leaves this group out.", "Nothing to do, if that is meant."),
    Reason.NO_CLOUD_COUNTERPART: Explanation("Cloud has nothing like it.", "See the guide on what does not move."),
    Reason.FILE_MISSING: Explanation(
        "The source lists the attachment but does not hold its file.",
        "Find the file in a backup and attach it by hand.",
    ),
    Reason.CONTAINER_MISSING: Explanation(
        "The page or comment it belongs to is not in the source.", "Nothing can be done with this source alone."
    ),
    Reason.GONE_AT_SOURCE: Explanation(
        "It was deleted at the source after the inventory.", "Analyze the source again."
    ),
    Reason.SOURCE_UNREADABLE: Explanation("The source did not give it out.", "Check the source, then retry."),
    Reason.BODY_UNREADABLE: Explanation(
        "Its body is damaged at the source.", "Mend the page at the source, then retry."
    ),
    Reason.ADDRESS_INVALID: Explanation("The e-mail address is not valid.", "Repair the address, then run again."),
    Reason.ADDRESS_UNKNOWN: Explanation(
        "The source does not tell the e-mail address.",
        "Supply the address by CSV or an XML export; until then: Former user.",
    ),
    Reason.SPACE_KEY_CONFLICT: Explanation(
        "A space with this key exists on the site.", "Change the key, leave the space out, or remove the other space."
    ),
    Reason.SPACE_NOT_CREATED: Explanation("The space could not be created on the site.", "See the log, then retry."),
    Reason.SPACE_BUSY: Explanation(
        "Another plan is at work on this space of the site.", "Run again when that plan has ended."
    ),
    Reason.UNDONE: Explanation("The undo removed it from the site.", "Nothing to do."),
    Reason.IN_USE: Explanation(
        "Something that others made or changed is below it or on it, so it stays.",
        "Move that away or delete it, then undo again.",
    ),
    Reason.ACCOUNT_STAYS: Explanation(
        "No API deletes an account; the access that the plan gave was taken away.",
        "Delete the account in the administration of the organization, if nothing else uses it.",
    ),
    Reason.INVITATION_UNKNOWN: Explanation(
        "The request to invite this person had no answer, so nobody can tell whether the mail was sent; it is not sent twice.",
        "Ask the person, or send the reminder.",
    ),
    Reason.ACCESS_ENDED: Explanation(
        "The person has no active account with this address and access to Confluence on the site any more.",
        "Give access again, if it is meant, then invite again.",
    ),
    Reason.NO_ORGANIZATION: Explanation(
        "The site has no key of its organization, and only the organization invites people who have access already.",
        "Give the key (cloudward site credential --organization), then invite again; or invite in the administration.",
    ),
    Reason.TITLE_CLASH: Explanation(
        "Another page of the space has this title; it was renamed and links follow.", "Rename it as you like."
    ),
    Reason.TOO_LARGE: Explanation("It is larger than the site accepts.", "Split the page or raise the site's limit."),
    Reason.SITE_REFUSED: Explanation("The site refused it as not valid.", "See the page's entry in the report."),
    Reason.SITE_FORBIDS: Explanation(
        "The credential may not do this on the site.", "Give the migrator's account the right, then retry."
    ),
    Reason.SITE_UNAVAILABLE: Explanation(
        "The site did not answer in time, repeatedly.", "Retry when the site is well."
    ),
    Reason.CREDENTIAL_REFUSED: Explanation(
        "The source or the site does not accept the credential.",
        "Give it a valid credential (cloudward source credential, cloudward site credential), then save and run a new plan.",
    ),
    Reason.ROLES_SITE: Explanation(
        "The site works with space roles, which this release does not assign.", "Assign roles in the space's settings."
    ),
    Reason.KEPT_PRIVATE: Explanation(
        "A restriction in the space could not be set, so the space was not opened.",
        "Set the restriction, then open the space.",
    ),
    Reason.VIEWING_NOT_GRANTED: Explanation(
        "The source grants this to someone who may not view the space; Cloud does not allow that.",
        "Grant viewing as well, if it is meant.",
    ),
    Reason.CHANGED_ON_SITE: Explanation("Someone changed it on the site meanwhile.", "Compare both by hand."),
    Reason.GONE_ON_SITE: Explanation("Someone deleted it on the site meanwhile.", "Run again if it should be there."),
    Reason.PRINCIPAL_NOT_ON_SITE: Explanation(
        "The person or group it names is not on the site.", "Move users and groups, then set it by hand."
    ),
    Reason.ACCOUNT_HIDDEN: Explanation(
        "The site says that an account with this address exists, and does not show it.",
        "Add an organization key to the site, or map the user to the account by CSV.",
    ),
    Reason.ACCESS_GROUP_UNNAMED: Explanation(
        "The site has several groups that give access to Confluence, or shows none, and the plan names none of them.",
        "Copy the plan with --access-group NAME.",
    ),
    Reason.SEATS_EXHAUSTED: Explanation(
        "The site's licence has no seat left.", "Buy seats or free some, then run the users again."
    ),
    Reason.KEPT_CLOSED: Explanation(
        "Nobody who may see it at the source is on the site, so it stays visible to the migrator's account alone.",
        "Give someone on the site the right to see it.",
    ),
    Reason.NOT_IN_A_ROLE: Explanation(
        "No role of the site gives this without giving more than the source did.",
        "Give a role that includes it, in the space's settings, if that is meant.",
    ),
    Reason.PLACE_NOT_FOUND: Explanation(
        "The text that the comment is about is not on the page any more; it stands below the page and quotes the text.",
        "Nothing has to be done.",
    ),
    Reason.VERSIONS_INCOMPLETE: Explanation(
        "Some earlier versions are not in the source; the others and the last one moved.", "Nothing has to be done."
    ),
    Reason.PARENT_NOT_MOVED: Explanation("The page it hangs on did not move.", "Retry what failed."),
    Reason.CRASHED_EXECUTOR: Explanation(
        "The process that moved it died every time it tried.", "Look at the page at the source and report the case."
    ),
    Reason.UNEXPECTED_ERROR: Explanation("Something unforeseen went wrong.", "See the service's log, then retry."),
    Reason.VERIFICATION_DIFFERENCE: Explanation(
        "What the site shows differs from what was sent.", "Compare both by hand, then retry."
    ),
}

# Reasons that make a chunk's whole space fail: nothing of it can go on.
FATAL = frozenset({Reason.SPACE_KEY_CONFLICT, Reason.SPACE_NOT_CREATED})

# The groups that never move and never merge; their members do move, as people.
GENERIC_GROUPS = frozenset({"site-admins", "system-administrators", "atlassian-addons", "atlassian-addons-admin"})

# What verification put right by itself, by what it found: of one, and of several.
MENDED = {
    "restricted": ("page that the source hides by now was hidden", "pages that the source hides by now were hidden"),
    "closed": ("page was closed to all but the migrator", "pages were closed to all but the migrator"),
    "stray": ("stray of an interrupted worker was removed", "strays of interrupted workers were removed"),
}
