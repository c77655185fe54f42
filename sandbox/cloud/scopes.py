"""What a request through the gateway needs: the scopes of each operation, and which v1 operations are gone there.

Source: the OpenAPI documents of Cloud (``x-atlassian-oauth2-scopes``); a contract test holds this table against them.
"""

import re

#: (methods, path, alternatives). An alternative is a set of scopes that suffice together; classic ones stand last. A
#: scope without a product is one of Confluence. The first line that fits counts; no line: no app may use the operation.
_TABLE = (
    ("GET", "V2/(pages|blogposts)/{}/attachments", "read:attachment"),
    ("GET", "V2/(pages|blogposts|attachments)/{}/(footer|inline)-comments", "read:comment"),
    ("GET", "V2/pages/{}/(direct-children|descendants)", "read:hierarchical-content"),
    ("GET", "V2/pages/{}/ancestors", "read:content.metadata"),
    ("POST PUT DELETE", "V2/(pages|blogposts)/{}/properties.*", "read:page write:page"),
    ("GET", "V2/(spaces/{}/)?(pages|blogposts).*", "read:page"),
    ("POST PUT", "V2/(pages|blogposts).*", "write:page"),
    ("DELETE", "V2/(pages|blogposts)/{}", "delete:page"),
    ("GET", "V2/attachments.*", "read:attachment"),
    ("POST PUT DELETE", "V2/attachments/{}/properties.*", "read:attachment write:attachment"),
    ("DELETE", "V2/attachments/{}", "delete:attachment"),
    ("GET", "V2/(footer-|inline-)?comments.*", "read:comment"),
    ("POST PUT DELETE", "V2/comments/{}/properties.*", "read:comment write:comment"),
    ("POST PUT", "V2/(footer|inline)-comments.*", "write:comment"),
    ("DELETE", "V2/(footer|inline)-comments/{}", "delete:comment"),
    ("GET", "V2/(spaces/{}/role-assignments|space-roles.*|space-permissions|space-role-mode)", "read:space.permission"),
    ("POST", "V2/spaces/{}/role-assignments", "write:space.permission"),
    ("GET", "V2/labels.*", "read:label"),
    ("GET", "V2/spaces.*", "read:space"),
    ("POST PUT DELETE", "V2/spaces/{}/properties.*", "read:space write:space"),
    ("POST", "V2/spaces", "write:space"),
    ("POST", "V2/users-bulk", "read:user"),
    ("POST", "V2/user/access/.*", "read:configuration"),
    ("POST", "V2/content/convert-ids-to-types", "read:content.metadata"),
    ("GET", "V1/space/{}/watch", "read:watcher read:user"),
    ("GET", "V1/space/{}/label", "read:label | read:confluence-content.all"),
    ("POST", "V1/space/{}/label", "read:label write:label | write:confluence-space"),
    ("GET", "V1/space.*", "read:content-details | read:confluence-space.summary"),
    (
        "POST PUT",
        "V1/space(/_private|/{})?",
        "read:space-details write:space write:space.permission | write:confluence-space",
    ),
    ("DELETE", "V1/space/{}", "read:content.metadata delete:space | write:confluence-space"),
    ("GET", "V1/longtask.*", "read:content.metadata | read:confluence-space.summary"),
    ("PUT", "V1/content/{}/move/{}/{}", "write:page | write:confluence-content"),
    ("POST", "V1/content/archive", "read:content.metadata write:page | write:confluence-content"),
    (
        "GET",
        "V1/content/{}/child/attachment/{}/download",
        "read:attachment | readonly:content.attachment:confluence",
    ),
    ("POST PUT", "V1/content/{}/child/attachment.*", "read:content-details write:attachment | write:confluence-file"),
    ("GET", "V1/content/{}/label", "read:label | read:confluence-content.summary"),
    ("POST", "V1/content/{}/label", "read:label write:label | write:confluence-content"),
    ("DELETE", "V1/content/{}/label.*", "write:label | write:confluence-content"),
    ("GET", "V1/content/{}/restriction(/byOperation(/{})?)?", "read:content-details | read:confluence-content.all"),
    ("GET", "V1/content/{}/restriction/.*", "read:content.restriction | read:confluence-content.all"),
    (
        "PUT DELETE POST",
        "V1/content/{}/restriction",
        "read:content-details write:content.restriction | write:confluence-content",
    ),
    ("PUT DELETE", "V1/content/{}/restriction/.*", "write:content.restriction | write:confluence-content"),
    ("GET", "V1/(content/search|search)", "read:content-details | search:confluence"),
    ("GET", "V1/content/{}/child/attachment", "read:content-details | read:confluence-content.summary"),
    ("GET", "V1/content.*", "read:content-details | read:confluence-content.all"),
    ("POST", "V1/contentbody/convert/.*", "read:content-details write:content | read:confluence-content.all"),
    ("GET", "V1/user/watch/.*", "read:watcher | read:confluence-content.summary"),
    ("POST DELETE", "V1/user/watch/.*", "write:watcher | write:confluence-content"),
    ("GET", "V1/user/anonymous", "read:user | read:confluence-user"),
    ("GET", "V1/user/memberof", "read:user read:group | read:confluence-user"),
    ("GET", "V1/user(/current|/bulk)?", "read:content-details | read:confluence-user"),
    ("GET", "V1/group/{}/membersByGroupId", "read:group read:user | read:confluence-groups"),
    ("GET", "V1/group.*", "read:group | read:confluence-groups"),
    ("POST", "V1/group", "read:group write:group | write:confluence-groups"),
    ("POST DELETE", "V1/group/.*", "write:group | write:confluence-groups"),
    ("GET", "V1/settings/systemInfo", "read:configuration | manage:confluence-configuration"),
    ("GET", "J/serverInfo", ""),
    (
        "GET",
        "J/user/search",
        "read:user:jira read:user.property:jira read:application-role:jira read:avatar:jira read:group:jira | read:jira-user",
    ),
    ("GET", "J/(user/groups|group/bulk|groups/picker)", "read:group:jira | read:jira-user"),
    (
        "GET",
        "J/(user|users|users/search|myself|user/bulk)",
        "read:user:jira read:application-role:jira read:avatar:jira read:group:jira | read:jira-user",
    ),
    ("GET", "J/group/member", "read:group:jira read:user:jira read:avatar:jira | manage:jira-configuration"),
    (
        "POST",
        "J/group(/user)?",
        "read:group:jira read:user:jira write:group:jira read:avatar:jira | manage:jira-configuration",
    ),
    ("DELETE", "J/group/user", "write:group:jira | manage:jira-configuration"),
    ("DELETE", "J/group", "delete:group:jira | manage:jira-configuration"),
    ("GET", "J/mypermissions", "read:permission:jira | read:jira-work"),
    ("GET", "J/applicationrole", "read:application-role:jira | manage:jira-configuration"),
)
_PREFIX = {"V2": "/wiki/api/v2", "V1": "/wiki/rest/api", "J": "/rest/api/3"}

#: v1 operations that v2 replaces, as (methods, path). Source: their descriptions ("Deprecated, use Confluence's v2 API").
_REPLACED = (
    ("GET POST", "V1/content"),
    ("GET PUT DELETE", "V1/content/{}"),
    ("GET", "V1/content/{}/(child|child/attachment|child/comment|child/page|history|label|version|version/{})"),
    ("GET POST PUT DELETE", "V1/content/{}/property.*"),
    ("GET", "V1/space(/{}(/content(/{})?)?)?"),
    ("GET POST PUT DELETE", "V1/space/{}/property.*"),
)


def _pattern(path: str) -> re.Pattern[str]:
    prefix, _, rest = path.partition("/")
    text = f"{_PREFIX[prefix]}/{rest}" if rest else _PREFIX[prefix]
    return re.compile(text.replace("{}", r"\{[^/]+\}"))


def _scope(name: str) -> str:
    return name if "confluence" in name or "jira" in name else f"{name}:confluence"


_ROWS = [
    (frozenset(methods.split()), _pattern(path), [frozenset(map(_scope, part.split())) for part in needs.split("|")])
    for methods, path, needs in _TABLE
]
_GONE = [(frozenset(methods.split()), _pattern(path)) for methods, path in _REPLACED]


def alternatives(method: str, route: str) -> list[frozenset[str]]:
    """The sets of scopes of which one is needed. Empty: no app may use the operation."""
    for methods, pattern, needs in _ROWS:
        if method in methods and pattern.fullmatch(route):
            return needs
    return []


def suffice(method: str, route: str, scopes: frozenset[str]) -> bool:
    return any(needed <= scopes for needed in alternatives(method, route))


def gone(method: str, route: str) -> bool:
    """Whether v2 replaces this v1 operation: 410 through the gateway."""
    return any(method in methods and pattern.fullmatch(route) for methods, pattern in _GONE)
