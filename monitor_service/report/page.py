"""The page of `acr report`: the story of one run, and other runs beside it."""

from collections.abc import Iterable, Sequence

from monitor_service.diagnose import page as logs
from monitor_service.diagnose.markup import document, facts, text
from monitor_service.diagnose.report import Diagnosis
from monitor_service.report import comparison, sections
from monitor_service.report.comparison import Contender
from monitor_service.report.story import Story


def of(
    subject: Story | Diagnosis,
    contenders: Sequence[Contender],
    about: Iterable[tuple[str, str]],
    live: str = "",
) -> str:
    """The page. Needs matplotlib; see `svg.missing`.

    Args:
        subject: a run of a monitor, or a log.
        contenders: what to put beside each other, the subject among them; empty: nothing.
        about: how the page was made.
        live: address at which the run is as it is now; "" without one.
    """
    if isinstance(subject, Diagnosis):
        name, told = subject.path, logs.section(subject, "run")
    else:
        name, told = subject.run.id, _section(*sections.of(subject))
    beside = [_section(comparison.compared(contenders))] if contenders else []
    link = f'<p><a href="{text(live)}">The run as it is now</a></p>' if live else ""
    made = _section("<h2>About this page</h2>", facts(about), link)
    return document("report", [told, *beside, made], title=f"{name}, acr report")


def _section(*parts: str) -> str:
    return "\n".join(("<section>", *parts, "</section>"))
