"""Orders: overrides that return by themselves, the kill switch, commands to the trainer."""

from http import HTTPStatus

from fastapi import APIRouter, Request, Response

from monitor_service.api.body import control_of, read, reply
from monitor_service.api.openapi import documented
from monitor_service.errors import InvalidInput
from monitor_service.requests import CommandRequest, Order, OverrideRequest
from monitor_service.resources import SettingsView

router = APIRouter(prefix="/v1/runs/{run_id}", tags=["control"])


@router.post(
    "/overrides",
    **documented(body=OverrideRequest, reply=SettingsView, status=HTTPStatus.CREATED),
)
async def add_override(run_id: str, request: Request) -> Response:
    """Change settings for a while: both `expires_in_steps` and `expires_in_s` are required.

    Whichever end comes first, they return by themselves; the trainer sees to it even when the
    monitor is gone.
    """
    wanted = await read(request, OverrideRequest)
    return reply(await control_of(request).override(run_id, wanted), HTTPStatus.CREATED)


@router.post("/overrides/{number}/end", **documented(body=Order, reply=SettingsView))
async def end_override(run_id: str, number: str, request: Request) -> Response:
    """End an override before its time."""
    order = await read(request, Order)
    if not (number.isascii() and number.isdigit() and len(number) < 16):
        raise InvalidInput("override", number, "must be the number of an override")
    return reply(await control_of(request).end_override(run_id, int(number), order))


@router.post("/kill", **documented(body=Order, reply=SettingsView))
async def kill(run_id: str, request: Request) -> Response:
    """Stop every intervention: plain GRPO from the next batch on, until somebody re-arms."""
    return reply(await control_of(request).kill(run_id, await read(request, Order)))


@router.post("/rearm", **documented(body=Order, reply=SettingsView))
async def rearm(run_id: str, request: Request) -> Response:
    """Allow interventions again, after a kill or after the controller locked itself."""
    return reply(await control_of(request).rearm(run_id, await read(request, Order)))


@router.post("/commands", **documented(body=CommandRequest, reply=SettingsView))
async def command(run_id: str, request: Request) -> Response:
    """Have the trainer save a checkpoint, or save one and stop."""
    wanted = await read(request, CommandRequest)
    return reply(await control_of(request).command(run_id, wanted))
