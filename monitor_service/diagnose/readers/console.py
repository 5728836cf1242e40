"""What trainers print: dictionaries (TRL, OpenRLHF), `step:N - key:value` (verl), `key=value`.

Colours are removed, progress bars are used for one thing: TRL prints no step, but its progress bar
does. Without one, rows are numbered.
"""

import re
from dataclasses import dataclass, field

from monitor_service.diagnose.intake import Intake
from monitor_service.diagnose.log import Log, number, whole
from monitor_service.diagnose.sources import File
from monitor_service.diagnose.vocabulary import STEP_KEYS, figure_of, normalised

_ANSI = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]|\x1b\][^\x07]*\x07")
_DICT = re.compile(r"\{\s*['\"][^{}]{1,20000}\}")
_NUMBER = r"[-+]?[0-9][0-9.]*(?:[eE][-+]?[0-9]+)?|[-+]?(?:nan|NaN|inf|Infinity)"
_VALUE = rf"(?:np\.\w+\(|tensor\()?\s*['\"]?(?P<value>{_NUMBER})"
_PAIR = re.compile(r"['\"](?P<key>[^'\"\n]{1,120})['\"]\s*:\s*" + _VALUE)
_VERL = re.compile(r"\bstep\s*:\s*(?P<step>\d+)\s+-\s+(?P<rest>\S.*)$")
_BAR = re.compile(r"(?:^|\r)\s*\d{1,3}%\|[^|\r]{0,200}\|\s*(?P<at>\d+)/(?P<of>\d+)\s*\[")
_DESCRIBED_BAR = re.compile(
    r"\d{1,3}%\|[^|\r]{0,200}\|\s*\d+/\d+\s*\[[^\],]{0,100},(?P<rest>[^\]]{0,1000})\]"
)
_GLOBAL_STEP = re.compile(
    r"(?i)\b(?:global[ _]?step|step|iteration|iter|update)\s*[:=#]?\s*(?P<step>\d+)\b"
)
_OUT_OF = re.compile(r"(?:^|[\s\]|])(?P<at>\d+)\s*/\s*(?P<of>\d+)(?=\s*[|:,\]-]|\s|$)")
_ASSIGNED = re.compile(
    r"(?P<key>[A-Za-z_][\w./@-]{0,80})\s*[=:]\s*"
    r"(?P<value>[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?%?|nan|inf|-inf)(?=[\s,;|)\]}]|$)"
)
_RANK = re.compile(
    r"^\s*\[?(?:rank\s*[:=]?\s*(?P<rank>\d+)\]?|(?P<task>\d{1,4}):\s)", re.IGNORECASE
)

MAX_LINE_CHARACTERS = 200_000
"""Longer pieces of console output hold generated text, not a row of figures."""


@dataclass(slots=True)
class _Printed:
    """What has been seen of the steps so far."""

    bar: tuple[int, int] | None = None
    rows: dict[str, int] = field(default_factory=dict)
    last_by_bar: dict[str, int] = field(default_factory=dict)
    num_numbered: int = 0
    num_by_bar: int = 0


def read(file: File, log: Log, intake: Intake) -> None:
    """Read console output."""
    printed = _Printed()
    for line, text in file.lines():
        if len(text) > MAX_LINE_CHARACTERS and "\r" not in text:
            continue
        clean = _ANSI.sub("", text)
        for piece in clean.split("\r"):
            if bar := _BAR.search(piece):
                printed.bar = int(bar["at"]), int(bar["of"])
            if len(piece) <= MAX_LINE_CHARACTERS:
                _piece(piece, line, intake, printed)
    if file.cut is not None:
        log.problem(f"{file.cut}; what came before was read", log.place())
    intake.flush()
    if printed.num_numbered:
        log.step_key = "the row"
        log.caveats.append(
            "the output names no steps: rows are numbered 1, 2, ...; with logging every n steps a "
            "row stands for n, and with n processes that print unmarked n rows stand for one"
        )
    elif printed.num_by_bar:
        log.step_key = "the progress bar"
    intake.finish()


def _piece(text: str, line: int, intake: Intake, printed: _Printed) -> None:
    if (found := _VERL.search(text)) is not None:
        pairs = (part.rpartition(":") for part in found["rest"].split(" - "))
        row = {key.strip(): value for key, _, value in pairs if key}
        if _is_ours(row):
            intake.take({"step": found["step"], **row}, line)
            return
    took = False
    for one in _DICT.finditer(text):
        row = {pair["key"]: pair["value"] for pair in _PAIR.finditer(one[0])}
        if _is_ours(row):
            took = True
            intake.take(_with_step(row, text[: one.start()], printed), line)
    if took:
        return
    if "=" in text or ":" in text:
        bar = _DESCRIBED_BAR.search(text)
        row = {
            pair["key"]: pair["value"] for pair in _ASSIGNED.finditer(bar["rest"] if bar else text)
        }
        if _is_ours(row):
            intake.take(_with_step(row, text, printed), line)


def _is_ours(row: dict[str, str]) -> bool:
    """Whether a printed row is about a step: it names a reward, and more than the reward."""
    figures = {figure_of(normalised(key)) for key in row} - {None}
    return "reward_mean" in figures or len(figures) > 2


def _with_step(row: dict[str, str], before: str, printed: _Printed) -> dict[str, str]:
    """The row with the step that it, its line, or the progress bar names; else a number."""
    if any(
        normalised(key) in STEP_KEYS and whole(number(value)) is not None
        for key, value in row.items()
    ):
        return row
    before = before[-300:]
    if found := _GLOBAL_STEP.search(before) or None:
        return {"step": found["step"], **row}
    if (found := _OUT_OF.search(before)) and int(found["at"]) <= int(found["of"]):
        return {"step": found["at"], **row}
    rank_found = _RANK.match(before)
    rank = (rank_found["rank"] or rank_found["task"]) if rank_found else ""
    if printed.bar is not None and printed.bar[0] > printed.last_by_bar.get(rank, 0):
        printed.last_by_bar[rank] = printed.bar[0]
        printed.num_by_bar += 1
        return {"step": str(printed.bar[0]), **row}
    printed.rows[rank] = printed.rows.get(rank, printed.last_by_bar.get(rank, 0)) + 1
    printed.num_numbered += 1
    return {"step": str(printed.rows[rank]), **row}
