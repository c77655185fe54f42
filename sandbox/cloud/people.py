"""Accounts whatever the API: inviting, products, and how v1 shows a person."""

from sandbox.cloud.call import Call
from sandbox.cloud.state import Account, Mail
from sandbox.wire import Document


def invite(call: Call, email: str, products: list[str], mail: bool) -> Account | None:
    """Give a person access, with a new account where there is none. None: no seat left."""
    site = call.site
    account = site.by_email.get(email.lower())
    created = account is None
    if account is None:
        account = site.add_account(email, email.partition("@")[0], invited=True)
    full = "confluence" in products and not site.seat_left(account)
    if full:
        if created:
            del site.accounts[account.id], site.by_email[email.lower()]
        return None
    for product in products:
        if product != "jira" or site.jira:
            site.join(account, site.product_group(product))
    if mail:
        site.mails.append(Mail(email, "invitation", f"You are invited to {site.name}"))
    call.request.did("created" if created else "updated", "account", account.id, f"account {email.lower()}")
    return account


def person_doc(call: Call, account: Account) -> Document:
    """A person as v1 shows one. The address is empty where it is hidden."""
    return {
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
