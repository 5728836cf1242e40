"""Write the dashboards as JSON, or check that the files at hand are what the code says.

python -m dashboards.build            write dashboards/json/*.json
python -m dashboards.build --check    exit 1 when a file differs
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import dashboard

from dashboards import links, overview, run

JSON_DIR = Path(__file__).parent / "json"


def render() -> dict[Path, str]:
    """Every file and its text; the same text for the same code, so that differences can be read."""
    built = {links.OVERVIEW: overview.build(), links.RUN: run.build()}
    return {JSON_DIR / f"{uid}.json": _text(one) for uid, one in built.items()}


def outdated() -> list[Path]:
    """The files that are missing or differ from what the code builds."""
    return [
        path
        for path, text in render().items()
        if not path.exists() or path.read_text(encoding="utf-8") != text
    ]


def _text(built: dashboard.Dashboard) -> str:
    text = json.dumps(built, cls=JSONEncoder, indent=2, sort_keys=True, ensure_ascii=False)
    return f"{text}\n"


def main(argv: Sequence[str] | None = None) -> None:
    """Entry point of `python -m dashboards.build`."""
    parser = argparse.ArgumentParser(prog="python -m dashboards.build", description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing, exit 1 when different")
    if parser.parse_args(argv).check:
        if stale := outdated():
            names = ", ".join(path.name for path in stale)
            sys.exit(f"out of date: {names}; run python -m dashboards.build")
        return
    JSON_DIR.mkdir(exist_ok=True)
    for path, text in render().items():
        path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
