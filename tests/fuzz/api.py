"""Every endpoint of a running monitor, against its own description.

    python -m tests.fuzz.api [--examples N] [--seed N]

schemathesis sends what the OpenAPI document allows, and what it forbids, to a monitor of its own:
as anybody before there is a token, with a token that may do everything, and without one. Nothing
may be answered that the document does not say: no status, no content type, no field.
"""

import argparse
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import httpx

from tests.fuzz.hooks import KNOWN_RUN
from tests.servers import AcrServe, acr_serve, short_folder
from tests.service.reports import body

EXCLUDED = ("--exclude-path-regex", "/stream$")
"""Streams never end; `tests/service/test_stream.py` is about them."""
TOLERATED = ("positive_data_acceptance",)
"""What is valid field by field may contradict itself, and is refused."""
WITHOUT_TOKENS = ("ignored_auth", "missing_required_header", "negative_data_rejection")
"""Nobody needs a token before there is one, so a missing one is no mistake."""
REFUSED_TO_ALL = (
    *("not_a_server_error", "status_code_conformance", "content_type_conformance"),
    *("response_headers_conformance", "response_schema_conformance"),
)
ROOT = Path(__file__).parents[2]
CONFIG = Path(__file__).with_name("schemathesis.toml")


@contextmanager
def known_monitor() -> Iterator[AcrServe]:
    """A monitor with a run, that lets requests through as fast as they come."""
    with short_folder() as folder, acr_serve(folder) as monitor:
        runs = f"{monitor.url}/v1/runs"
        httpx.post(runs, json={"id": KNOWN_RUN}).raise_for_status()
        reports = [body(step) for step in range(1, 6)]
        httpx.post(f"{runs}/{KNOWN_RUN}/steps", json=reports).raise_for_status()
        yield monitor


@contextmanager
def described(monitor: AcrServe) -> Iterator[Path]:
    """A file with the monitor's OpenAPI document, which takes a token once there is one."""
    with short_folder() as folder:
        document = folder / "openapi.json"
        document.write_bytes(httpx.get(f"{monitor.url}/openapi.json").raise_for_status().content)
        yield document


def new_token(monitor: AcrServe) -> str:
    """A token of every scope; from now on nobody is let in without one."""
    command = [sys.executable, "-m", "monitor_service", "token", "create", "fuzzer", "--json"]
    scopes = [part for scope in ("report", "control") for part in ("--scope", scope)]
    made = subprocess.run(
        [*command, *scopes, "--redis-url", monitor.redis_url],
        capture_output=True,
        check=True,
        text=True,
    )
    token: str = httpx.Response(200, text=made.stdout).json()["token"]
    return token


def examined(monitor: AcrServe, document: Path, options: argparse.Namespace, *more: str) -> None:
    """One run of schemathesis; ends the process with its status when it finds something."""
    program = str(Path(sys.executable).with_name("schemathesis"))
    command = [program, "--config-file", str(CONFIG), "run", str(document), "--url", monitor.url]
    command += ["--seed", f"{options.seed}", "-n", f"{options.examples}"]
    command += ["--phases", options.phases, "--generation-database", "none", "--warnings", "off"]
    hooks = {"SCHEMATHESIS_HOOKS": "tests.fuzz.hooks", "PYTHONPATH": str(ROOT)}
    # It leaves a folder of its own where it runs.
    run = subprocess.run(
        [*command, *EXCLUDED, *more], cwd=document.parent, env={**os.environ, **hooks}, check=False
    )
    if run.returncode:
        raise SystemExit(run.returncode)


def parsed(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """The options."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.fuzz.api", description="Every endpoint, against its description."
    )
    parser.add_argument("--examples", type=int, default=100, help="of each endpoint")
    parser.add_argument(
        "--phases", default="examples,coverage,fuzzing", help="of schemathesis; coverage is long"
    )
    parser.add_argument("--seed", type=int, default=0, help="of all of them")
    options = parser.parse_args(argv)
    if options.examples < 1:
        parser.error("--examples: at least 1")
    return options


def main(argv: Sequence[str] | None = None) -> None:
    """Examine it three times; ends with a status other than 0 at the first finding."""
    options = parsed(argv)
    without = ["--exclude-checks", ",".join((*TOLERATED, *WITHOUT_TOKENS))]
    with known_monitor() as monitor, described(monitor) as document:
        examined(monitor, document, options, "--checks", "all", *without)
    with known_monitor() as monitor, described(monitor) as document:
        token = ["--header", f"Authorization: Bearer {new_token(monitor)}"]
        checks = ["--checks", "all", "--exclude-checks", ",".join(TOLERATED)]
        examined(monitor, document, options, *checks, *token)
        examined(monitor, document, options, "--checks", ",".join(REFUSED_TO_ALL))


if __name__ == "__main__":
    main()
