"""The results file: every evaluation that was finished, whole or not at all, and found again."""

import hashlib
import os
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import msgspec
from datasets import Dataset
from msgspec import Struct

from monitor_service.errors import InvalidInput
from trainer.evaluate.measure import Result

FORMAT = 1


class Entry(Struct, kw_only=True, forbid_unknown_fields=True):
    """One benchmark, evaluated."""

    benchmark: str
    settings: dict[str, Any]
    """All that the counts follow from, but for chance: the same settings are not run again."""
    num_problems: int
    num_samples: int
    accuracy: float
    """Share of correct completions, a fraction; pass@1."""
    pass_at: dict[str, dict[str, Any]]
    """k -> an `estimate.Estimate`."""
    truncated: float
    """Share of completions that were cut off at `max_new_tokens`."""
    mean_tokens: float
    num_unscored: int
    num_correct: list[int | None]
    """Per problem, in the benchmark's order; None where the gold answer is unusable."""
    num_truncated: list[int]
    num_tokens: list[int]
    """Of all completions of a problem together."""
    seconds: float
    """Generation and judging."""
    finished_at_s: float
    """Unix time."""
    run_with: dict[str, str]
    """Versions, device, and what else may shift a figure by a little."""

    def result(self) -> Result:
        """The counts, for other estimates."""
        return Result(
            num_samples=self.num_samples,
            num_correct=self.num_correct,
            num_truncated=self.num_truncated,
            num_tokens=self.num_tokens,
        )


class _File(Struct, kw_only=True, forbid_unknown_fields=True):
    format: int = FORMAT
    results: list[Entry] = []


def entry(
    benchmark: str,
    settings: dict[str, Any],
    result: Result,
    *,
    seconds: float,
    run_with: dict[str, str],
) -> Entry:
    """What is kept of a result; `estimates` adds pass@k."""
    return Entry(
        benchmark=benchmark,
        settings=settings,
        num_problems=len(result.num_correct),
        num_samples=result.num_samples,
        accuracy=result.accuracy,
        pass_at={},
        truncated=result.truncated,
        mean_tokens=result.mean_tokens,
        num_unscored=result.num_unscored,
        num_correct=result.num_correct,
        num_truncated=result.num_truncated,
        num_tokens=result.num_tokens,
        seconds=seconds,
        finished_at_s=time.time(),
        run_with=run_with,
    )


def estimates(kept: Entry, ks: Sequence[int], *, confidence: float, seed: int) -> Entry:
    """The same with pass@k for these k, from the counts; other k that it has stay."""
    result = kept.result()
    added = {
        str(k): asdict(result.pass_at(k, confidence=confidence, seed=seed)) for k in sorted(ks)
    }
    return msgspec.structs.replace(kept, pass_at={**kept.pass_at, **added})


def fingerprint(problems: Dataset) -> str:
    """Of the prompts and answers, in order."""
    rows = [[row["prompt"], row["answer"]] for row in problems]
    return hashlib.sha256(msgspec.json.encode(rows)).hexdigest()


def read(path: Path) -> list[Entry]:
    """The entries of a results file; none where there is no file, whose folder is then made.

    Raises:
        InvalidInput: it is another file, of another version, or damaged.
        OSError: it cannot be read, or nothing can be written beside it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=path.parent):  # Hours later would be a bad time to learn it.
        pass
    if not path.exists():
        return []
    try:
        held = msgspec.json.decode(path.read_bytes(), type=_File)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        allowed = f"is no results file that can be read; move it away ({error})"
        raise InvalidInput("output", str(path), allowed) from error
    if held.format != FORMAT:
        raise InvalidInput("output", str(path), f"has format {held.format}, not {FORMAT}")
    return held.results


def find(entries: Sequence[Entry], benchmark: str, settings: dict[str, Any]) -> Entry | None:
    """The entry with these settings."""
    for held in entries:
        if (held.benchmark, held.settings) == (benchmark, settings):
            return held
    return None


def keep(path: Path, new: Entry) -> None:
    """Add an entry, in the place of one with the same settings; other entries stay."""
    entries = [held for held in read(path) if find([held], new.benchmark, new.settings) is None]
    content = msgspec.json.format(msgspec.json.encode(_File(results=[*entries, new])), indent=1)
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=path.name, delete=False) as part:
        part.write(content)
        part.flush()
        os.fsync(part.fileno())
    os.chmod(part.name, 0o644)
    os.replace(part.name, path)
