"""Whether the policy itself is well: what the trainer reports beside rewards."""

from grafana_foundation_sdk.builders import timeseries

from dashboards import palette, panels
from dashboards.promql import gauge


def health() -> list[timeseries.Panel]:
    """One row."""
    return [_entropy(), _kl(), _gradient(), _lengths()]


def _entropy() -> timeseries.Panel:
    return _line(
        "Entropy",
        "entropy",
        "acr_entropy_nats",
        description="Mean entropy per token. Judge it against the run's own beginning: below "
        "three tenths of that the alarm entropy_collapse is raised. When reward falls along with "
        "it, raise the upper clip range or the entropy bonus; inject on the wrong side only.",
        empty="The trainer reported no entropy in the time shown.",
        unit="suffix: nats",
    ).min(0)


def _kl() -> timeseries.Panel:
    return _line(
        "KL to the reference",
        "KL",
        "acr_kl_nats",
        description="Divergence from the reference model per token. A jump means that the policy "
        "runs away: lower the learning rate or raise beta; above 1 for five steps, stop and go "
        "back to a checkpoint.",
        empty="The trainer reported no KL: with beta 0 it has no reference model.",
        unit="suffix: nats",
    )


def _gradient() -> timeseries.Panel:
    return _line(
        "Gradient norm",
        "gradient norm",
        "acr_grad_norm",
        description="Norm before clipping. It sinks towards 0 as groups collapse. Several times "
        "its usual level while groups are injected: scale the virtual advantages down.",
        empty="The trainer reported no gradient norm yet.",
        unit="none",
    ).min(0)


def _lengths() -> timeseries.Panel:
    lengths = (
        panels.lines(
            "Completion length and truncation",
            panels.queries(
                {
                    "mean length": gauge("acr_completion_length_tokens"),
                    "truncated": gauge("acr_truncated_ratio"),
                }
            ),
            description="Mean tokens per completion, and on the right the share cut off at the "
            "limit. Truncated answers score as wrong and make all_wrong groups that no "
            "intervention can mend: raise the limit or mask them.",
            empty="The trainer reported no lengths in the time shown.",
            unit="suffix: tokens",
            span=6,
        )
        .min(0)
        .override_by_name(
            "truncated", panels.on_the_right("percentunit", palette.WRONG, min=0, max=1)
        )
    )
    return panels.colored(lengths, {"mean length": palette.MAIN})


def _line(
    title: str, name: str, metric: str, *, description: str, empty: str, unit: str
) -> timeseries.Panel:
    panel = panels.lines(
        title,
        [panels.query(gauge(metric), name)],
        description=description,
        empty=empty,
        unit=unit,
        span=6,
    )
    return panels.colored(panel, {name: palette.MAIN})
