"""Where a page is written: over an older page, and never over another file."""

from pathlib import Path

import typer

from monitor_service.diagnose import markup, svg


def check(path: Path) -> None:
    """Raise BadParameter when no page can be drawn, or none written there.

    `--html *.jsonl` would name a log.
    """
    reason = svg.missing() or _refusal(path)
    if reason is not None:
        raise typer.BadParameter(reason)


def write(path: Path, page: str) -> None:
    """Write it; raises BadParameter when that fails."""
    try:
        path.write_text(page, encoding="utf-8")
    except OSError as error:
        raise typer.BadParameter(f"--html {path}: {error.strerror}") from error


def _refusal(path: Path) -> str | None:
    try:
        if path.exists():
            with path.open("rb") as there:
                is_ours = there.read(len(markup.START)) == markup.START.encode()
            return None if is_ours else f"--html {path}: another file is there, and is kept"
    except OSError as error:
        return f"--html {path}: {error.strerror}"
    return None if path.parent.is_dir() else f"--html {path}: there is no folder {path.parent}"
