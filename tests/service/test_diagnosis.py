"""How a run is doing: alarms, knobs, forecast, result, and what the guarded controller did."""

from collections.abc import AsyncIterator
from uuid import uuid4

import httpx
import msgspec
import pytest
from msgspec.structs import replace

from monitor_service.engine.forecast import MIN_RUNS, PAPER_SLOPE, paper_accuracy
from monitor_service.monitor import Monitor
from monitor_service.requests import ResultRequest
from monitor_service.resources import Diagnosis, ForecastView, Result
from monitor_service.store.redis import RedisStore
from monitor_service.wire import CreateRun
from tests.service.orders import (
    applied,
    events_of,
    ordered,
    patched,
    reported,
    run_of,
    settings_after,
)
from tests.service.problems import refused
from tests.service.reports import CORRECT, MIXED, WRONG, new_run_id, recorded, report

IGNORED = {"status": "ignored", "value": 0.0, "reason": "there is no reference policy"}


def diagnosis(client: httpx.Client, run_id: str) -> Diagnosis:
    return msgspec.json.decode(client.get(f"/v1/runs/{run_id}/diagnosis").content, type=Diagnosis)


def test_of_a_healthy_run_nothing_is_found(client, run_id):
    reported(client, run_id, 1)
    found = diagnosis(client, run_id)
    assert (found.run_id, found.step, found.failure) == (run_id, 1, "")
    assert (found.verdicts, found.knobs) == ([], [])


def test_run_and_diagnosis_have_one_headline(client, run_id):
    assert run_of(client, run_id)["headline"] == "Waiting for the first report."
    rewards = [WRONG] * 12 + [MIXED] * 4
    reported(client, run_id, *range(1, 61), rewards=rewards)
    run, found = run_of(client, run_id), diagnosis(client, run_id)
    # After five steps of 16 groups 64 effective ones are behind the pooled ACR of 12 / 16.
    assert run["headline"] == found.headline
    assert run["headline"].startswith("Stalled since step 5: most groups without a signal are all ")
    client.post(f"/v1/runs/{run_id}/kill", json={"actor": "ana", "reason": "enough"})
    assert run_of(client, run_id)["headline"].startswith("Killed by ana: plain GRPO; stalled since")


def test_a_run_says_what_its_controller_does_and_the_trainer_did(client):
    run_id = new_run_id()
    client.post("/v1/runs", json={"id": run_id, "profile": "observe"})
    would = {"injected_wrong": 3, "effective_acr": 0.25}
    shadow = applied(mode="shadow", shadow=would)
    reported(client, run_id, *range(1, 5), rewards=[WRONG] * 16, applied=shadow)
    assert run_of(client, run_id)["controller"] == (
        "Observing, nothing is injected (shadow): would inject into all-wrong groups since step 5 "
        "(0 of at most 50 steps): 1.000 less 1.64 x 0.000 is above 0.3."
    )
    patched(client, run_id, controller="fixed", acr_source="batch")
    assert run_of(client, run_id)["controller"].endswith(
        "it was 1 in the newest step, 3 groups would be injected."
    )


def test_what_an_attempt_does_over_again_is_not_what_the_run_says_of_itself(client, run_id):
    patched(client, run_id, controller="fixed", acr_source="batch")
    law = "Fixed threshold: injects when the ACR of a batch is above 0.5"
    done = applied(injected_wrong=3)
    reported(client, run_id, *range(1, 5), rewards=[WRONG] * 12 + [MIXED] * 4, applied=done)
    assert run_of(client, run_id)["controller"] == (
        f"{law}; it was 0.75 in the newest step, 3 groups injected."
    )
    for after, headline in (
        (2, "Too early to tell: 2 steps."),
        (0, "Waiting for the first report."),
    ):
        client.post("/v1/runs", json={"id": run_id, "resume_from_step": after})
        run = run_of(client, run_id)
        assert (run["headline"], run["controller"]) == (headline, f"{law}.")


def test_baselines_are_there_once_they_are_known(client, run_id):
    scalars = {"entropy": 0.5, "grad_norm": 2.0, "completion_length_mean": 100.0}
    reported(client, run_id, 1, 2, scalars=scalars)
    assert run_of(client, run_id)["baselines"] == {}
    reported(client, run_id, *range(3, 31), scalars=scalars | {"truncated_fraction": 0.25})
    # The running median of the norm may be a step of 2 % beside the norm.
    baselines = run_of(client, run_id)["baselines"]
    assert baselines.pop("grad_norm") == pytest.approx(2.0, rel=0.03)
    assert baselines == {
        "entropy": 0.5,
        "completion_length_mean": 100.0,
        "truncated_fraction": 0.25,
    }


def test_a_knob_is_shown_as_asked_for_as_applied_and_as_ignored(client, run_id):
    settings_after(patched(client, run_id, beta=0.04, temperature=0.9, loss_mask=True))
    knobs = {"beta": IGNORED, "temperature": {"status": "applied", "value": 0.9}}
    reported(client, run_id, 1, applied=applied(knobs=knobs))
    shown = {knob.name: knob for knob in diagnosis(client, run_id).knobs}
    assert {name: knob.requested for name, knob in shown.items()} == {
        "beta": 0.04,
        "temperature": 0.9,
        "loss_mask": True,
    }
    beta, temperature = shown["beta"].applied, shown["temperature"].applied
    assert beta is not None
    assert (beta.status, beta.reason) == ("ignored", "there is no reference policy")
    assert temperature is not None
    assert (temperature.status, temperature.value) == ("applied", 0.9)
    assert shown["loss_mask"].applied is None


def test_an_alarm_is_raised_resolved_and_told_with_its_cause_and_advice(client, run_id):
    bad, good = applied(knobs={"beta": IGNORED}), applied(knobs={})
    reported(client, run_id, 1, 2, applied=bad)
    (verdict,) = diagnosis(client, run_id).verdicts
    assert (verdict.rule, verdict.severity, verdict.since_step) == (
        "settings_ignored",
        "warning",
        1,
    )
    assert "did not apply beta: there is no reference policy" in verdict.cause
    assert verdict.advice
    assert run_of(client, run_id)["verdicts"][0]["rule"] == "settings_ignored"
    reported(client, run_id, 3, 4, applied=good)
    assert diagnosis(client, run_id).verdicts == []
    told = events_of(client, run_id, "alarm_raised", "alarm_updated", "alarm_resolved")
    assert [(event["kind"], event["step"]) for event in told] == [
        *(("alarm_raised", 2), ("alarm_resolved", 4))
    ]
    assert told[0]["message"] == verdict.cause
    assert told[0]["data"]["advice"] == verdict.advice


def test_an_alarm_that_gets_worse_is_told_again(client, run_id):
    reported(client, run_id, 1, 2, applied=applied(knobs={"beta": IGNORED}))
    two = {"beta": IGNORED, "temperature": IGNORED}
    # Two ignored knobs are more than 1.5 times one.
    reported(client, run_id, 3, applied=applied(knobs=two))
    (event,) = events_of(client, run_id, "alarm_updated")
    assert (event["step"], event["data"]["evidence"]["num_knobs"]) == (3, 2)


def test_a_resumed_run_says_which_alarms_are_left(client, run_id):
    reported(client, run_id, 1, 2, applied=applied(knobs={"beta": IGNORED}))
    for step, left in ((2, ["settings_ignored"]), (1, [])):
        client.post("/v1/runs", json={"id": run_id, "resume_from_step": step})
        assert events_of(client, run_id, "resumed")[-1]["data"]["alarms"] == left
        assert [found.rule for found in diagnosis(client, run_id).verdicts] == left


def stages(client: httpx.Client, run_id: str) -> list[tuple[str, str]]:
    told = events_of(client, run_id, "arming")
    return [(event["data"]["from_stage"], event["data"]["stage"]) for event in told]


@pytest.mark.parametrize(("profile", "mode"), [("guarded", "active"), ("observe", "shadow")])
def test_what_the_guarded_controller_does_is_told(client, profile, mode):
    run_id = new_run_id()
    brief = {"max_active_steps": 2, "cooldown_steps": 1, "benefit_check": False}
    client.post("/v1/runs", json={"id": run_id, "profile": profile, "settings": brief})
    assert run_of(client, run_id)["acting_mode"] == mode
    wrong, right = [WRONG] * 64, [CORRECT] * 640
    # Rate 1 above 0.3 at once; two steps are the limit; a step later it may enter again.
    reported(client, run_id, 1, 2, 3, 4, rewards=wrong)
    assert stages(client, run_id) == [
        *(("off", "active"), ("active", "cooldown"), ("cooldown", "active"))
    ]
    # Ten half-lives of all-correct groups: the watched rate is 2**-10, below 0.2.
    reported(client, run_id, 5, rewards=right)
    reported(client, run_id, 6, rewards=right)
    assert stages(client, run_id)[3:] == [("active", "cooldown"), ("cooldown", "armed")]
    assert run_of(client, run_id)["settings"]["arming"]["activations"] == 2
    reasons = [event["message"] for event in events_of(client, run_id, "arming")]
    assert reasons[0] == "off -> active: 1.000 less 1.64 x 0.000 is above 0.3"
    assert reasons[1] == "active -> cooldown: 2 steps are the limit"


def test_what_an_observed_run_would_have_done_is_counted_and_nothing_else(client):
    run_id = new_run_id()
    client.post("/v1/runs", json={"id": run_id, "profile": "observe"})
    would = {"injected_wrong": 2, "injected_correct": 0, "effective_acr": 0.25}
    reported(client, run_id, 1, applied=applied(mode="shadow", shadow=would))
    counters = run_of(client, run_id)["counters"]
    assert (counters["shadow_wrong"], counters["shadow_correct"]) == (2, 0)
    assert (counters["injected_wrong"], counters["intervened_steps"]) == (0, 0)


def test_more_injections_than_groups_are_refused_in_shadow_too(client, run_id, untouched):
    content = {"step": 1, "rewards": [MIXED, WRONG]}
    content["applied"] = applied(mode="shadow", shadow={"injected_wrong": 2, "injected_correct": 1})
    found = refused(client.post(f"{untouched}/steps", json=content), 422)
    assert found["field"] == "applied.shadow.injected_wrong, applied.shadow.injected_correct"


def forecast_of(client: httpx.Client, run_id: str) -> ForecastView:
    reply = client.get(f"/v1/runs/{run_id}/forecast")
    return msgspec.json.decode(reply.content, type=ForecastView)


def test_before_step_100_there_is_no_forecast_and_it_says_how_far_it_is(client, run_id):
    reported(client, run_id, 1, 2, 3)
    found = forecast_of(client, run_id)
    assert (found.forecast.ready, found.forecast.steps_seen) == (False, 3)
    assert (found.forecast.expected, found.result) == (None, None)
    assert "3/100" in found.forecast.why


def test_after_100_steps_the_papers_line_forecasts_with_an_interval(client, run_id):
    reported(client, run_id, *range(1, 101))
    found = forecast_of(client, run_id).forecast
    # Two of four groups collapsed at every step.
    assert (found.ready, found.acr_100, found.source) == (True, 0.5, "paper")
    assert found.expected == pytest.approx(0.514 - 0.296 * 0.5)
    assert found.low is not None
    assert found.high is not None
    assert found.low < 0.514 - 0.296 * 0.5 < found.high


def test_a_result_is_kept_shown_told_and_replaced_by_a_later_one(client, run_id):
    reported(client, run_id, *range(1, 101))
    for accuracy in (0.3, 0.4):
        content = {"accuracy": accuracy, "benchmark": f"of {run_id}"}
        reply = ordered(client, run_id, "result", **content)
        assert (reply.status_code, reply.json()["acr_100"]) == (200, 0.5)
    kept = forecast_of(client, run_id).result
    assert kept is not None
    assert (kept.run_id, kept.accuracy, kept.benchmark) == (run_id, 0.4, f"of {run_id}")
    told = [event["message"] for event in events_of(client, run_id, "result")]
    assert told == [f"0.3 on of {run_id}", f"0.4 on of {run_id}"]


@pytest.mark.parametrize(
    ("content", "field"),
    [
        ({"benchmark": "x"}, "accuracy"),
        ({"accuracy": 41.2, "benchmark": "x"}, "accuracy"),
        ({"accuracy": 0.4}, "benchmark"),
        ({"accuracy": 0.4, "benchmark": ""}, "benchmark"),
    ],
)
def test_a_bad_result_is_422_and_names_the_field(client, run_id, untouched, content, field):
    assert refused(ordered(client, run_id, "result", **content), 422)["field"] == field


@pytest.fixture
async def store(redis_url: str) -> AsyncIterator[RedisStore]:
    opened = RedisStore(redis_url)
    yield opened
    await opened.close()


async def test_enough_results_of_ones_own_replace_the_papers_line(store):
    monitor = Monitor(store, lambda: 1000.0)
    benchmark = f"benchmark {uuid4().hex}"
    run, _ = await monitor.create(CreateRun(id=new_run_id()))
    for step in range(1, 101):
        await recorded(monitor, run.id, report(step))
    # The run's own result says on which benchmark it is compared.
    await monitor.result(run.id, ResultRequest(accuracy=0.7, benchmark=benchmark))
    for number in range(MIN_RUNS):
        found = (await monitor.forecast(run.id)).forecast
        assert (found.source, found.expected) == ("paper", paper_accuracy(0.5))
        # Finished runs on the line 0.9 - 0.4 * ACR_100: their own line, not the paper's.
        other, _ = await monitor.create(CreateRun(id=new_run_id()))
        stored = await store.load(other.id)
        assert stored is not None
        acr_100 = number / MIN_RUNS
        result = Result(
            run_id=other.id,
            accuracy=0.9 - 0.4 * acr_100,
            benchmark=benchmark,
            acr_100=acr_100,
            at_s=1000.0,
        )
        assert await store.commit(stored, replace(stored, result=result), at_s=1.0) is not None
    found = (await monitor.forecast(run.id)).forecast
    assert (found.source, found.num_runs, found.benchmark) == ("own runs", MIN_RUNS, benchmark)
    assert PAPER_SLOPE != -0.4
    assert found.expected == pytest.approx(0.9 - 0.4 * 0.5)
