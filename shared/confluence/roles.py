"""From single space permissions to a role, on sites where a space has roles only.

A role gives several rights at once. The one that is chosen is the mightiest that gives nothing beyond what the source gave but
what ``COMES_ALONG`` tolerates; what it leaves out is told. Nobody comes to see more than before: every role may view, and only
those get one who may view at the source.
"""

from collections.abc import Iterable

from shared.confluence.cloud.parsing import SiteRole

Operation = tuple[str, str]  # key and target, as in Cloud's v1 permissions

VIEW: Operation = ("read", "space")
WRITE: Operation = ("create", "page")
ADMINISTER: Operation = ("administer", "space")

#: What someone may get who has the first: rights that change nothing that others made, or that go with it in every role.
COMES_ALONG: dict[Operation, frozenset[Operation]] = {
    VIEW: frozenset({("create", "comment"), ("delete", "space")}),
    WRITE: frozenset(
        {
            ("create", "blogpost"),
            ("create", "attachment"),
            ("create", "comment"),
            ("delete", "space"),
            ("delete", "comment"),
            ("restrict_content", "space"),
        }
    ),
}


def operations(role: SiteRole) -> frozenset[Operation]:
    """What a role gives: the site names it "key/target"."""
    pairs = (name.partition("/") for name in role.permissions)
    return frozenset((key, target) for key, _, target in pairs)


def role_for(roles: Iterable[SiteRole], held: frozenset[Operation]) -> SiteRole | None:
    """The role for someone who holds these permissions at the source; None where no role fits, or they may not view."""
    if VIEW not in held:
        return None
    may = held.union(*(along for of, along in COMES_ALONG.items() if of in held))
    # An administrator of a space gives themselves what they lack.
    fitting = [r for r in roles if VIEW in operations(r) and (ADMINISTER in held or operations(r) <= may)]
    return max(fitting, key=lambda role: (len(operations(role) & may), len(operations(role)), role.id), default=None)
