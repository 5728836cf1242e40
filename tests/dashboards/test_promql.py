"""What the shapes of expression answer, by Prometheus' own evaluator."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from dashboards.promql import (
    begun,
    changed,
    each_run,
    gauge,
    grown,
    or_none,
    ranks,
    rate,
    ratio,
    worst,
)

VARIABLES = {"$run": "a", "$__rate_interval": "4m", "$__interval": "1m", "$__range": "10m"}
ALARM = 'acr_alarm_active{run="%s", rule="%s", severity="%s", instance="%s"}'
INFO = 'acr_run_info{run="%s", instance="%s"}'


class Evaluator:
    """Series, a value a minute from 0 on, in Prometheus' notation; and what is asked of them."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def check(
        self, expr: str, series: dict[str, str], *, at_min: int, answers: dict[str, float]
    ) -> None:
        """`answers`: labels as they are written -> value, all there are and no more."""
        for name, value in VARIABLES.items():
            expr = expr.replace(name, value)
        samples = [{"labels": labels, "value": value} for labels, value in answers.items()]
        asked = {"expr": expr, "eval_time": f"{at_min}m", "exp_samples": samples}
        given = [{"series": name, "values": values} for name, values in series.items()]
        test = {"interval": "1m", "input_series": given, "promql_expr_test": [asked]}
        file = self._folder / "test.yml"
        file.write_text(json.dumps({"evaluation_interval": "1m", "tests": [test]}))
        promtool = shutil.which("promtool")
        assert promtool is not None, "promtool is missing: apt-get install prometheus"
        done = subprocess.run(
            [promtool, "test", "rules", str(file)], capture_output=True, text=True
        )
        assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture
def prometheus(tmp_path: Path) -> Evaluator:
    return Evaluator(tmp_path)


def test_two_replicas_count_once(prometheus):
    replicas = {f'acr_ratio{{run="a", instance="{one}"}}': "0.5" for one in (1, 2)}
    prometheus.check(gauge("acr_ratio"), replicas, at_min=0, answers={"{}": 0.5})


def test_a_figure_of_every_run_has_a_series_for_each(prometheus):
    series = {'acr_step{run="a"}': "7", 'acr_step{run="b"}': "9"}
    answers = {'{run="a"}': 7.0, '{run="b"}': 9.0}
    prometheus.check(each_run("acr_step"), series, at_min=0, answers=answers)
    prometheus.check(gauge("acr_step"), series, at_min=0, answers={"{}": 7.0})


def test_the_verdict_is_the_most_severe_alarm_of_each_run_and_none_without_one(prometheus):
    series = {
        **{INFO % (run, 1): "1" for run in ("a", "b", "c")},
        ALARM % ("a", "stall", "warning", 1): "1",
        ALARM % ("a", "kl_explosion", "critical", 1): "1",
        ALARM % ("a", "entropy_low", "info", 1): "1",
        ALARM % ("b", "entropy_low", "info", 1): "1",
    }
    prometheus.check(
        worst(""),
        series,
        at_min=0,
        answers={
            '{run="a", rule="kl_explosion"}': 3,
            '{run="b", rule="entropy_low"}': 1,
            '{run="c", rule="none"}': 0,
        },
    )


def test_a_graph_of_alarms_says_none_where_there_is_none(prometheus):
    expr = or_none(ranks(), run="all runs", rule="none")
    series = {ALARM % ("a", "stall", "warning", 1): "_x5 1x10"}
    prometheus.check(expr, series, at_min=4, answers={'{run="all runs", rule="none"}': 0.0})
    prometheus.check(expr, series, at_min=5, answers={'{run="a", rule="stall"}': 2.0})


def test_a_run_has_one_verdict_while_its_replicas_disagree(prometheus):
    series = {
        INFO % ("a", 1): "1",
        INFO % ("a", 2): "1",
        ALARM % ("a", "stall", "warning", 1): "1",
        ALARM % ("a", "stall", "critical", 2): "1",
    }
    prometheus.check(worst(), series, at_min=0, answers={'{run="a", rule="stall"}': 3})


def test_alarms_of_the_chosen_run_are_ranked_and_those_of_others_left_out(prometheus):
    series = {
        ALARM % ("a", "stall", "warning", 1): "1",
        ALARM % ("a", "entropy_low", "info", 1): "1",
        ALARM % ("b", "not_finite", "critical", 1): "1",
    }
    answers = {'{run="a", rule="stall"}': 2.0, '{run="a", rule="entropy_low"}': 1.0}
    prometheus.check(ranks(), series, at_min=0, answers=answers)


def test_a_share_without_a_step_is_no_point_and_not_a_zero(prometheus):
    # 3 of 4 groups a minute until minute 4, then none.
    series = {
        'acr_groups_total{run="a", outcome="mixed"}': "0+3x4 12x10",
        'acr_groups_total{run="a", outcome="all_wrong"}': "0+1x4 4x10",
    }
    groups = rate("acr_groups_total", "outcome")
    share = ratio(groups, f"sum({groups})")
    answers = {'{outcome="mixed"}': 0.75, '{outcome="all_wrong"}': 0.25}
    prometheus.check(share, series, at_min=4, answers=answers)
    prometheus.check(share, series, at_min=12, answers={})


def test_a_counter_that_began_in_the_time_shown_grew_from_nothing(prometheus):
    expr = grown("acr_alert_deliveries_total", "sink", where='outcome="refused"')
    name = 'acr_alert_deliveries_total{sink="%s", outcome="refused", instance="%s"}'
    # The webhook was at 5 ten minutes ago and is at 7; Slack began with 1; two replicas say so.
    series = {name % ("webhook", one): "5x10 7x10" for one in (1, 2)}
    series |= {name % ("slack", one): "_x14 1x10" for one in (1, 2)}
    prometheus.check(expr, series, at_min=15, answers={"{}": (7 - 5) + 1})
    prometheus.check(expr, {}, at_min=15, answers={"{}": 0})


def test_a_change_is_marked_at_one_point(prometheus):
    series = {'acr_settings_revision{run="a"}': "1x4 2x10"}
    expr = changed("acr_settings_revision")
    for minute, answers in ((4, {}), (5, {"{}": 2.0}), (6, {})):
        prometheus.check(expr, series, at_min=minute, answers=answers)


def test_an_alarm_is_marked_where_it_begins_and_where_it_gets_worse(prometheus):
    # A warning from minute 2 on, critical from minute 5 on.
    series = {
        ALARM % ("a", "stall", "warning", 1): "_x2 1x2 stale",
        ALARM % ("a", "stall", "critical", 1): "_x5 1x10",
    }
    expr = begun("acr_alarm_active", "rule", "severity")
    marks = {
        2: {'{rule="stall", severity="warning"}': 1.0},
        3: {},
        5: {'{rule="stall", severity="critical"}': 1.0},
        6: {},
    }
    for minute, answers in marks.items():
        prometheus.check(expr, series, at_min=minute, answers=answers)
