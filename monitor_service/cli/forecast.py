"""`acr forecast` and `acr result`: the accuracy to expect, and what it came to."""

from typing import Annotated

import typer

from monitor_service.cli import values
from monitor_service.cli.client import monitor_at
from monitor_service.cli.options import DEFAULT_URL, AsJson, RunId, Url
from monitor_service.cli.terminal import for_machines, labelled, out, parts, wrapped
from monitor_service.formats import percent
from monitor_service.resources import Result


def forecast(run: RunId, url: Url = DEFAULT_URL, as_json: AsJson = False) -> None:
    """Say what accuracy to expect at the end, and what that rests on."""
    with monitor_at(url) as monitor:
        view = monitor.forecast(run)
    if as_json:
        for_machines(view)
        return
    found = view.forecast
    if found.expected is None or found.low is None or found.high is None:
        out.print(parts(f"{run}: no forecast"))
    else:
        interval = f"({percent(found.low)} to {percent(found.high)}, 90 % of such runs)"
        expected = (percent(found.expected), "bold")
        out.print(parts(f"{run}: ", expected, f" {interval} on {found.benchmark}"))
        acr_100 = f"{found.acr_100:.3f}, the mean ACR of the first 100 steps"
        labelled("  ACR_100", wrapped(acr_100))
    if view.result:
        labelled("  result", wrapped(_measured(view.result)))
    labelled("  why", wrapped(found.why))
    labelled("  holds for", wrapped(found.scope))
    labelled("  caveat", wrapped(found.caveat))


def result(
    run: RunId,
    accuracy: Annotated[
        float,
        typer.Argument(
            metavar="ACCURACY",
            parser=values.accuracy,
            show_default=False,
            help="Measured after training: 0.412 or 41.2%.",
        ),
    ],
    benchmark: Annotated[
        str,
        typer.Option(help="What it was measured on; only results on the same one are compared."),
    ],
    url: Url = DEFAULT_URL,
    as_json: AsJson = False,
) -> None:
    """Keep the final accuracy of a run; enough of them replace the paper's forecast."""
    with monitor_at(url) as monitor:
        kept = monitor.result(run, accuracy=accuracy, benchmark=benchmark)
    if as_json:
        for_machines(kept)
        return
    out.print(parts(f"{run}: kept, {_measured(kept)}"))
    if kept.acr_100 is None:
        print("  ACR_100 of the run is not known, so forecasts cannot learn from it")
    else:
        print(f"  ACR_100 {kept.acr_100:.3f}: forecasts of other runs learn from it")


def _measured(found: Result) -> str:
    return f"{percent(found.accuracy)} on {found.benchmark}"
