"""Alerts as text for people, in what Slack's incoming webhooks take.

Mattermost takes the same, and so does Discord under `/slack`. Names and reasons come from people
and trainers, so nothing in them may mention anybody or make a link.
"""

from collections.abc import Mapping

import msgspec

from monitor_service.alert import Alert

MAX_TEXT_CHARS = 600
"""Of each sentence; Discord takes 2,000 characters in all."""
_SIGNS = {"critical": "\N{LARGE RED CIRCLE}", "warning": "\N{LARGE ORANGE CIRCLE}"}
_OVER = "\N{WHITE HEAVY CHECK MARK}"
_OTHER = "\N{LARGE BLUE CIRCLE}"


def slack(alert: Alert) -> tuple[bytes, Mapping[str, str]]:
    """The body for one incoming webhook."""
    body = msgspec.json.encode({"text": text(alert)})
    return body, {"content-type": "application/json"}


def text(alert: Alert) -> str:
    """What people read: what happened where, why, and what to do."""
    sign = _OVER if alert.status == "resolved" else _SIGNS.get(alert.severity, _OTHER)
    run = escaped(alert.run_id)
    where = f"<{escaped(alert.url)}|{run}>" if alert.url else run
    if alert.rule:
        what = f"*{escaped(alert.rule)}* {alert.status} ({alert.severity})"
    else:
        what = f"*{alert.status}*"
    lines = [f"{sign} {what}, run {where}, step {alert.step}", escaped(alert.message)]
    if alert.advice:
        lines.append(f"What to do: {escaped(alert.advice)}")
    return "\n".join(lines)


def escaped(found: str) -> str:
    """Text of others on one line, without a meaning to Slack; a name after @ is nobody's.

    >>> escaped("a < b & c > <!channel>")
    'a &lt; b &amp; c &gt; &lt;!channel&gt;'
    """
    one_line = " ".join(found.split())
    if len(one_line) > MAX_TEXT_CHARS:
        one_line = one_line[: MAX_TEXT_CHARS - 3] + "..."
    for sign, written in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;"), ("@", "@\u200b")):
        one_line = one_line.replace(sign, written)
    return one_line
