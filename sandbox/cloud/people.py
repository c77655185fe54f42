"""Accounts whatever the API: inviting, products, and how v1 shows a person."""

from sandbox.cloud.call import Call
from sandbox.cloud.state import Account, Group, Site
from sandbox.wire import Document


def invite(call: Call, email: str, products: list[str], groups: list[Group], mail: bool) -> Account | None:
    """Give a person access and groups, with a new account where there is none. None: no seat left."""
    site = call.site
    account = site.by_email.get(email.lower())
    created = account is None
    if account is None:
        account = new_account(site, email)
    wanted = {product for product in products if product != "jira" or site.jira}
    wanted.update(*(group.products for group in groups))
    if not site.seat_left(account, wanted):
        if created:
            del site.accounts[account.id], site.by_email[email.lower()]
        return None
    for group in [*(site.product_group(product) for product in wanted.intersection(products)), *groups]:
        site.join(account, group)
    if mail:
        site.mail(email, "invitation", f"You are invited to {site.name}")
    call.request.did("created" if created else "updated", "account", account.id, f"account {email.lower()}")
    return account


def new_account(site: Site, email: str) -> Account:
    """A person who comes to the site. Whoever is of a verified domain is managed by the organization."""
    managed = email.rpartition("@")[2].lower() in site.domains
    return site.add_account(email, email.partition("@")[0], invited=True, managed=managed)


def remove_group(site: Site, group: Group) -> None:
    """Delete a group, and with it what it was granted."""
    for id_ in list(group.members):
        site.leave(site.accounts[id_], group)
    del site.groups[group.id], site.group_names[group.name.lower()]
    for space in site.spaces.values():
        space.permissions = {id_: item for id_, item in space.permissions.items() if item.identifier != group.id}
        space.assignments = [item for item in space.assignments if item.principal_id != group.id]
        for holders in space.grants.values():
            holders.discard(group.id)


def person_doc(call: Call, account: Account) -> Document:
    """A person as v1 shows one. The address is empty where it is hidden. ``expand=operations``: what the person may do."""
    document: Document = {
        "type": "known",
        "accountId": account.id,
        "accountType": "atlassian",
        "email": account.email if account.email_visible else "",
        "publicName": account.name,
        "displayName": account.name,
        "timeZone": "UTC",
        "isExternalCollaborator": False,
        "isGuest": False,
        "locale": "en_US",
        "accountStatus": "active" if account.active else "inactive",
        "profilePicture": {"path": "/wiki/aa-avatar/default", "width": 48, "height": 48, "isDefault": True},
        "_expandable": {"operations": "", "personalSpace": ""},
        "_links": {"self": f"{call.request.origin}/wiki/rest/api/user?accountId={account.id}"},
    }
    if "operations" in call.request.all("expand"):
        verbs = ["use"] if call.site.has_product(account, "confluence") else []
        verbs += ["administer"] if call.site.is_admin(account) else []
        document["operations"] = [{"operation": verb, "targetType": "application"} for verb in verbs]
    return document


def anonymous_doc(call: Call) -> Document:
    return {
        "type": "anonymous",
        "displayName": "Anonymous",
        "accountType": "",
        "profilePicture": {"path": "/wiki/anonymous.svg", "width": 48, "height": 48, "isDefault": True},
        "isExternalCollaborator": False,
        "_expandable": {"operations": ""},
        "_links": {"self": f"{call.request.origin}/wiki/rest/api/user/anonymous"},
    }
