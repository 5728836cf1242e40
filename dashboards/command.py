"""`acr grafana`: the dashboards, and what happened to a run, in a Grafana that is there already."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated
from urllib.parse import urljoin

import typer

from dashboards.grafana import annotation, publication
from dashboards.grafana.connection import Grafana, GrafanaFailed
from monitor_service.cli import address
from monitor_service.cli.client import monitor_at
from monitor_service.cli.options import DEFAULT_URL, AsJson, RunId, Url
from monitor_service.cli.terminal import (
    FINE,
    INTERRUPTED,
    SEVERITY_STYLES,
    complain,
    for_machines,
    hint,
    out,
    parts,
)
from monitor_service.errors import InvalidInput

TOKEN_VARIABLE = "ACR_GRAFANA_TOKEN"
STYLES = {"refused": SEVERITY_STYLES["critical"], "unchanged": "dim"}

GrafanaUrl = Annotated[
    str,
    typer.Option(
        "--grafana-url",
        envvar="ACR_GRAFANA_URL",
        callback=address.full,
        help="Address of Grafana; the token is read from ACR_GRAFANA_TOKEN.",
    ),
]
DEFAULT_GRAFANA_URL = "http://127.0.0.1:3000"


def publish(
    grafana_url: GrafanaUrl = DEFAULT_GRAFANA_URL,
    folder: Annotated[str, typer.Option(metavar="TITLE", help="Folder to publish into.")] = "ACR",
    datasource_uid: Annotated[
        str | None,
        typer.Option(
            metavar="UID",
            help="The Prometheus that panels ask; by default the only one there is.",
            show_default=False,
        ),
    ] = None,
    monitor_url: Annotated[
        str | None,
        typer.Option(
            envvar="ACR_PUBLIC_URL",
            metavar="URL",
            help="Where people reach the monitor, for links to its page; by default as the "
            "dashboards have it.",
            show_default=False,
        ),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace what others saved, too.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be done; change nothing.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Bring the dashboards into Grafana: what is missing or older, and nothing else.

    A dashboard that others have saved since is left alone, and named; the status is 1 then.
    """
    with _grafana_at(grafana_url) as grafana:
        found = publication.publish(
            grafana,
            folder=folder,
            datasource_uid=datasource_uid,
            monitor_url=None if monitor_url is None else address.full(monitor_url),
            is_overwriting=overwrite,
            is_dry=dry_run,
        )
    if as_json:
        for_machines(found)
    else:
        _show(found, grafana_url, dry_run)
    if any(one.outcome == "refused" for one in found.dashboards):
        raise typer.Exit(1)


def annotate(
    run: RunId,
    grafana_url: GrafanaUrl = DEFAULT_GRAFANA_URL,
    since: Annotated[
        int, typer.Option(min=0, metavar="STEP", help="Only what began at this step or later.")
    ] = 0,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on with what comes; Ctrl-C ends it.")
    ] = False,
    dashboard_uid: Annotated[
        str | None,
        typer.Option(
            metavar="UID",
            help="Show them on this dashboard only, for whichever run it shows; by default on "
            "every one that asks for their tags.",
            show_default=False,
        ),
    ] = None,
    url: Url = DEFAULT_URL,
    as_json: AsJson = False,
) -> None:
    """Write what happened to a run into Grafana, as annotations.

    Interventions, alarms and kills from their beginning to their end; changes of settings, and
    how the run went. What is there already stays as it is. With --json a line of JSON.
    """
    with monitor_at(url) as monitor, _grafana_at(grafana_url) as grafana:
        try:
            annotator = annotation.Annotator(grafana, run, dashboard_uid)
            if not follow:
                _tell(run, annotator.write(annotation.story_of(monitor, run, since)), as_json)
                return
            is_first = True
            for written in annotation.followed(monitor, run, annotator, since, complain=hint):
                if is_first or written.created or written.updated:
                    _tell(run, written, as_json)
                is_first = False
        except KeyboardInterrupt:
            raise typer.Exit(INTERRUPTED) from None


def grafana() -> typer.Typer:
    """The commands as a group of their own."""
    group = typer.Typer(no_args_is_help=True, help="Bring dashboards and annotations into Grafana.")
    group.command("publish")(publish)
    group.command("annotate")(annotate)
    return group


@contextmanager
def _grafana_at(url: str) -> Iterator[Grafana]:
    """The Grafana at `url`; what goes wrong in the block is told, and ends the program."""
    try:
        with Grafana(url, _token(os.environ)) as opened:
            yield opened
    except (GrafanaFailed, InvalidInput) as error:
        complain(str(error))
        raise typer.Exit(1) from error


def _token(environ: Mapping[str, str]) -> str:
    """What the variable says, or the file that its `_FILE` names."""
    text, path = environ.get(TOKEN_VARIABLE, ""), environ.get(f"{TOKEN_VARIABLE}_FILE", "")
    if path:
        if text:
            raise InvalidInput(f"{TOKEN_VARIABLE}_FILE", path, f"not beside {TOKEN_VARIABLE}")
        try:
            text = Path(path).read_text()
        except (OSError, ValueError) as error:
            allowed = f"must be a file that can be read ({type(error).__name__})"
            raise InvalidInput(f"{TOKEN_VARIABLE}_FILE", path, allowed) from error
    if not text.strip():
        allowed = "must be the token of a service account of Grafana"
        raise InvalidInput(TOKEN_VARIABLE, "nothing", allowed)
    return text.strip()


def _show(found: publication.Publication, url: str, is_dry: bool) -> None:
    if is_dry:
        out.print(parts(("Nothing was changed. To be done:", "bold")))
    how = "created" if found.is_new_folder else "there"
    out.print(parts(f"folder     {found.folder}: {how}"))
    for one in found.dashboards:
        style = STYLES.get(one.outcome, FINE)
        rest = one.why or (urljoin(url, one.url) if one.url else "")
        out.print(parts((f"{one.outcome:<11}", style), f"{one.title}  {rest}".rstrip()))


def _tell(run: str, written: annotation.Written, as_json: bool) -> None:
    if as_json:
        for_machines(written)
        return
    counts = f"{written.created} created, {written.updated} updated, {written.unchanged} unchanged"
    out.print(parts(f"{run}: {counts}"))
