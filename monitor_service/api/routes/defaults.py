"""What new runs start with, and how people change it."""

from fastapi import APIRouter, Request, Response

from monitor_service.api.body import if_match, monitor_of, origin_of, read, reply
from monitor_service.api.openapi import documented
from monitor_service.requests import DefaultsRequest
from monitor_service.resources import Defaults

router = APIRouter(prefix="/v1/defaults", tags=["defaults"])


@router.get("", **documented(reply=Defaults, has_revision=True))
async def get_defaults(request: Request) -> Response:
    """The profile of runs that name none, and settings on top of the profile of every run."""
    return _with_etag(await monitor_of(request).defaults.now())


@router.patch("", **documented(body=DefaultsRequest, reply=Defaults, has_revision=True))
async def change_defaults(request: Request) -> Response:
    """Change what new runs start with; `reason` is required. Runs that exist stay as they are.

    With If-Match, refused (412) when someone was faster.
    """
    wanted = await read(request, DefaultsRequest)
    defaults = monitor_of(request).defaults.by(origin_of(request))
    return _with_etag(await defaults.change(wanted, if_revision=if_match(request)))


def _with_etag(defaults: Defaults) -> Response:
    return reply(defaults, headers={"etag": f'"r{defaults.revision}"'})
