"""`acr forecast` and `acr result`."""

import json

import pytest

from tests.service.reports import body


@pytest.fixture
def hundred(client, run_id) -> str:
    """A run of 100 steps, each with ACR 0.5."""
    reports = [body(step) for step in range(1, 101)]
    assert client.post(f"/v1/runs/{run_id}/steps", json=reports).is_success
    return run_id


def test_before_step_100_there_is_no_forecast_and_the_reason_is_said(acr, client, run_id):
    client.post(f"/v1/runs/{run_id}/steps", json=[body(step) for step in range(1, 38)])
    ended = acr("forecast", run_id)
    assert ended.status == 0
    assert ended.out.splitlines()[0] == f"{run_id}: no forecast"
    assert "No forecast before step 100: 37/100 seen." in ended.words
    assert "%)" not in ended.out


def test_a_forecast_comes_with_its_interval_and_what_it_holds_for(acr, hundred):
    ended = acr("forecast", hundred)
    # 0.514 - 0.296 * 0.5 = 0.366, with 1.645 * 0.0674 = 0.111 to either side.
    assert ended.out.splitlines()[0].startswith(f"{hundred}: 36.6 % (25.5 % to 47.7 %, 90 %")
    assert "ACR_100 0.500" in ended.words
    assert "MATH-500 after 500 steps of GRPO on Qwen2.5" in ended.words
    assert "caveat" in ended.words


def test_forecast_json_is_what_the_api_says(acr, client, hundred):
    told = client.get(f"/v1/runs/{hundred}/forecast").json()
    assert json.loads(acr("forecast", hundred, "--json").out) == told


@pytest.mark.parametrize("text", ["0.412", "41.2%", "41.2 %", ".412"])
def test_a_result_may_be_a_fraction_or_a_percentage(acr, client, hundred, text):
    ended = acr("result", hundred, text, "--benchmark", "AIME")
    assert (ended.status, ended.out.splitlines()[0]) == (0, f"{hundred}: kept, 41.2 % on AIME")
    assert "ACR_100 0.500" in ended.out
    kept = client.get(f"/v1/runs/{hundred}/forecast").json()["result"]
    assert (kept["accuracy"], kept["benchmark"]) == (0.412, "AIME")
    assert "result 41.2 % on AIME" in acr("forecast", hundred).words


def test_a_result_of_a_run_that_was_too_short_is_kept_and_its_use_is_said(acr, run_id):
    ended = acr("result", run_id, "100%", "--benchmark", "MATH-500")
    assert ended.out.splitlines()[0] == f"{run_id}: kept, 100.0 % on MATH-500"
    assert "is not known, so forecasts cannot learn from it" in ended.out


def test_result_json_is_what_the_api_keeps(acr, client, run_id):
    ended = acr("result", run_id, "0", "--benchmark", "MATH-500", "--json")
    assert json.loads(ended.out) == client.get(f"/v1/runs/{run_id}/forecast").json()["result"]


def test_a_benchmark_without_a_name_is_refused_by_the_service(acr, run_id):
    ended = acr("result", run_id, "0.4", "--benchmark", "")
    assert (ended.status, ended.out) == (1, "")
    assert ended.err.startswith("acr: benchmark: ")
