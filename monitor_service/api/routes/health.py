"""How a run is doing: diagnosis, forecast, and the result that calibrates it."""

from fastapi import APIRouter, Request, Response

from monitor_service.api.body import monitor_of, read, reply
from monitor_service.api.openapi import documented
from monitor_service.requests import ResultRequest
from monitor_service.resources import Diagnosis, ForecastView, Result

router = APIRouter(prefix="/v1/runs/{run_id}", tags=["health"])


@router.get("/diagnosis", **documented(reply=Diagnosis))
async def get_diagnosis(run_id: str, request: Request) -> Response:
    """What is wrong with the run, why, since when, and what to do; and what the trainer applied."""
    return reply(await monitor_of(request).diagnosis(run_id))


@router.get("/forecast", **documented(reply=ForecastView))
async def get_forecast(run_id: str, request: Request) -> Response:
    """The accuracy to expect at the end, once 100 steps were seen."""
    return reply(await monitor_of(request).forecast(run_id))


@router.post("/result", **documented(body=ResultRequest, reply=Result))
async def keep_result(run_id: str, request: Request) -> Response:
    """Keep the final accuracy of the run; enough of them replace the paper's forecast."""
    return reply(await monitor_of(request).result(run_id, await read(request, ResultRequest)))
