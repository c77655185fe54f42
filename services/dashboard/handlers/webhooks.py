"""Webhooks: where changes of status are told to, by API and on the settings' pages, with the log of deliveries."""

from typing import Annotated
from uuid import uuid4

from fastapi import APIRouter, Depends, Form, Query
from fastapi.responses import RedirectResponse, Response
from pydantic import ValidationError

from services.dashboard.domain.access import CALLER, Permission
from services.dashboard.domain.inputs import WebhookIn
from services.dashboard.domain.problems import ProblemError
from services.dashboard.domain.shapes import DeliveriesShown, DeliveryShown, Recorded, WebhookMade, WebhookShown
from services.dashboard.domain.webhooks import EVENTS
from services.dashboard.handlers.context import CommandId, CutOf, Needs, Parts, PartsOf
from services.dashboard.handlers.rendering import page
from shared.events.types import Id
from shared.ops.outgoing import Refused

_NEEDS = Depends(Needs(Permission.ADMINISTER, Permission.ADMINISTER))
router = APIRouter(tags=["webhooks"], dependencies=[_NEEDS])
pages = APIRouter(include_in_schema=False, dependencies=[_NEEDS])

PAGE = 50
Command = Annotated[str, Form(pattern=r"^[0-9a-f]{32}$")]


# -- API ---------------------------------------------------------------------------------------------------------


@router.get("/webhooks", summary="List webhooks")
async def list_webhooks(service: PartsOf, response: Response, cut: CutOf) -> list[WebhookShown]:
    """By name. Where there are more, the header ``Link`` names the next page."""
    found = await service.webhooks.all(limit=cut.limit, before=cut.before)
    return cut.linked(
        response, "/webhooks", [WebhookShown.model_validate(each, from_attributes=True) for each in found]
    )


@router.post("/webhooks", status_code=201, summary="Create a webhook")
async def create_webhook(service: PartsOf, id: CommandId, body: WebhookIn) -> WebhookMade:
    """It is told of plans' changes of status from now on. Deliveries are signed as Standard Webhooks says (``webhook-id``,
    ``webhook-timestamp``, ``webhook-signature``); the secret is in this answer and nowhere else. What is not taken with a status
    of 2xx is sent again for two and a half days."""
    made, secret = await _register(service, id, body)
    return WebhookMade(id=made, secret=secret)


@router.get("/webhooks/{webhook}", summary="One webhook")
async def show_webhook(service: PartsOf, webhook: Id) -> WebhookShown:
    return WebhookShown.model_validate(await service.webhooks.one(webhook), from_attributes=True)


@router.post("/webhooks/{webhook}/rotate", summary="Give a webhook a new secret")
async def rotate_secret(service: PartsOf, id: CommandId, webhook: Id) -> WebhookMade:
    """Deliveries carry two signatures for a day, by the new secret and by the old one."""
    return WebhookMade(id=webhook, secret=await service.webhooks.rotate(CALLER.get(), webhook))


@router.post("/webhooks/{webhook}/remove", summary="Remove a webhook")
async def remove_webhook(service: PartsOf, id: CommandId, webhook: Id) -> Recorded:
    """Nothing is sent to it any more. Twice is harmless."""
    await service.webhooks.remove(CALLER.get(), webhook)
    return Recorded(id=webhook)


@router.post("/webhooks/{webhook}/test", status_code=202, summary="Send a test delivery")
async def test_webhook(service: PartsOf, id: CommandId, webhook: Id) -> Recorded:
    return Recorded(id=await service.webhooks.test(id, webhook))


@router.get("/webhooks/{webhook}/deliveries", summary="Deliveries of a webhook")
async def list_deliveries(
    service: PartsOf,
    webhook: Id,
    before: Annotated[Id | None, Query(description="``next`` of the page before.")] = None,
    limit: Annotated[int, Query(ge=1, le=500)] = 100,
) -> DeliveriesShown:
    """Newest first, each with its last attempt. Kept for 30 days."""
    await service.webhooks.one(webhook)
    found = await service.webhooks.deliveries(webhook, before, limit)
    shown = [DeliveryShown.model_validate(each, from_attributes=True) for each in found]
    return DeliveriesShown(deliveries=shown, next=shown[-1].id if len(shown) == limit else None)


@router.post("/webhooks/{webhook}/deliveries/{delivery}/replay", status_code=202, summary="Deliver once more")
async def replay_delivery(service: PartsOf, id: CommandId, webhook: Id, delivery: Id) -> Recorded:
    """Under the same ``webhook-id``, so that the receiver knows it again."""
    await service.webhooks.replay(webhook, delivery)
    return Recorded(id=delivery)


async def _register(service: Parts, id: str, body: WebhookIn) -> tuple[str, str | None]:
    try:
        service.guard.check(body.url)
    except Refused as error:
        raise ProblemError(error.code, 422, f"{error}", error.way_on) from error
    return await service.webhooks.register(id, CALLER.get(), body.name, body.url, body.events)


# -- pages -------------------------------------------------------------------------------------------------------


@pages.get("/settings/webhooks")
async def webhooks_page(service: PartsOf) -> Response:
    return await _page(service)


@pages.post("/settings/webhooks")
async def create(
    service: PartsOf,
    command: Command,
    name: Annotated[str, Form(max_length=400)] = "",
    url: Annotated[str, Form(max_length=4000)] = "",
    events: Annotated[list[str] | None, Form()] = None,
) -> Response:
    """The page that follows shows the secret, this once."""
    values: dict[str, object] = {"name": name, "url": url, "chosen": events or []}
    try:
        body = WebhookIn.model_validate({"name": name.strip(), "url": url.strip(), "events": events or []})
        _, secret = await _register(service, command, body)
    except ValidationError:
        sentence = "Give the webhook a name, an address that begins with https://, and at least one event."
        return await _page(service, status=422, error=sentence, **values)
    except ProblemError as error:
        return await _page(service, status=error.status, error=f"{error} {error.way_on}", **values)
    if secret is None:
        return RedirectResponse("/settings/webhooks", 303)
    return await _page(service, made=secret, made_name=body.name)


@pages.get("/settings/webhooks/{webhook}")
async def webhook_page(service: PartsOf, webhook: Id, before: Annotated[Id | None, Query()] = None) -> Response:
    return await _one(service, webhook, before)


@pages.post("/settings/webhooks/{webhook}/rotate")
async def rotate(service: PartsOf, webhook: Id) -> Response:
    return await _one(service, webhook, None, made=await service.webhooks.rotate(CALLER.get(), webhook))


@pages.get("/settings/webhooks/{webhook}/remove")
async def confirm_removal(service: PartsOf, webhook: Id) -> Response:
    return page(service, "webhook_remove.html", webhook=await service.webhooks.one(webhook))


@pages.post("/settings/webhooks/{webhook}/remove")
async def remove(service: PartsOf, webhook: Id) -> Response:
    await service.webhooks.remove(CALLER.get(), webhook)
    return RedirectResponse("/settings/webhooks", 303)


@pages.post("/settings/webhooks/{webhook}/test")
async def send_test(service: PartsOf, webhook: Id, command: Command) -> Response:
    await service.webhooks.test(command, webhook)
    return RedirectResponse(f"/settings/webhooks/{webhook}", 303)


@pages.post("/settings/webhooks/{webhook}/deliveries/{delivery}/replay")
async def replay(service: PartsOf, webhook: Id, delivery: Id) -> Response:
    await service.webhooks.replay(webhook, delivery)
    return RedirectResponse(f"/settings/webhooks/{webhook}", 303)


async def _page(service: Parts, *, status: int = 200, **more: object) -> Response:
    values: dict[str, object] = {
        "error": None, "made": None, "made_name": None, "name": "", "url": "", "chosen": list(EVENTS), **more
    }  # fmt: skip
    return page(
        service,
        "webhooks.html",
        status=status,
        webhooks=await service.webhooks.all(),
        events=EVENTS,
        command=uuid4().hex,
        **values,
    )


async def _one(service: Parts, id: str, before: str | None, made: str | None = None) -> Response:
    found = await service.webhooks.one(id)
    rows = await service.webhooks.deliveries(id, before, PAGE)
    older = rows[-1].id if len(rows) == PAGE else None
    return page(
        service,
        "webhook.html",
        webhook=found,
        rows=rows,
        before=before,
        older=older,
        made=made,
        command=uuid4().hex,
    )
