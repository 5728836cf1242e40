"""`acr report` on runs of a monitor: what the page tells, of usual and of strange runs."""

import itertools
import re

import httpx
import numpy as np
import pytest
from redis import Redis

from monitor_service.client.api import MonitorApi
from monitor_service.diagnose import svg
from monitor_service.formats import value
from monitor_service.report import comparison
from monitor_service.report.story import NUM_SAMPLES, gathered
from monitor_service.series import COLUMNS
from monitor_service.store.keys import RunKeys
from tests.diagnose.samples import jsonl, rising
from tests.report.conftest import AS_TEXT
from tests.report.parsed import Page
from tests.servers import acr_serve, api_server, stock_redis
from tests.service.acr import applied, stuck
from tests.service.reports import CORRECT, MIXED, WRONG, body, new_run_id

pytest.importorskip("matplotlib")


def headings(page) -> list[str]:
    return [text for _, text in page.headings]


def row(page, first: str) -> list[str]:
    """The other cells of the one row of a table that begins so."""
    (found,) = [cells[1:] for cells in page.cells if cells[:1] == [first]]
    return found


def test_the_page_tells_the_whole_story(written, story, base_url):
    page = written(story)
    assert headings(page) == [
        "acr report",
        story,
        "Standing alarms",
        "Over the steps",
        "Figures",
        "Interventions",
        "Settings, and who changed them",
        "Knobs",
        "Forecast and result",
        "The loop",
        "Other events",
        "What this page does not know",
        "About this page",
    ]
    for told in (
        "ended: finished",
        f"60; {60 * 16 * 4} completions scored",
        "profile paper, but epsilon_high 0.28",  # Its controller moves the threshold.
        "beta 0.1",
        "team: rl",
        # 3 wrong and 1 correct in each of 5 steps.
        "15 all-wrong and 5 all-correct groups, in 5 steps of 60 (8.3 %), from step 6 to 10",
        "was 5; |A| up to 0.75; at most 25.0 % of a step's sum of |A| (5 sampled steps",
        "No forecast before step 100",
        "Measured: 41.2 % on MATH-500",
        "Applied were versions 1 to 60",
        f"acr report {story} --html",
        f"--url {base_url}",
    ):
        assert told in page.words, told
    assert page.links == [f"{base_url}/#/runs/{story}"]


def test_figures_are_means_of_both_ends_and_the_extremes_between(written, reported):
    # The reward is step / 100; (20 - 1) // 10 = 1, so the ends are the steps 1 to 2 and 19 to 20.
    reports = [{"step": step, "rewards": [[step / 100, step / 100]]} for step in range(1, 21)]
    page = written(reported(new_run_id(), reports))
    assert row(page, "reward") == ["0.015", "0.195", "0.01", "0.2"]
    assert "means of the steps 1 to 2 and 19 to 20" in page.words


def test_every_picture_header_and_heading_can_be_read_out(written, story, tmp_path):
    page = written(story, "--compare", jsonl(tmp_path / "log.jsonl", rising()))
    assert page.unscoped == 0
    assert all(one["role"] == "img" and one["title"] and one["desc"] for one in page.pictures)
    assert len(page.ids) == len(set(page.ids))
    levels = [level for level, _ in page.headings]
    assert all(after - before <= 1 for before, after in itertools.pairwise(levels))


def test_the_page_loads_nothing_and_runs_nothing(written, story):
    page = written(story)
    assert "script" not in page.tags
    assert all(load.startswith("#") for load in page.loads)


def test_what_people_wrote_is_text_whatever_it_is(client, written, story):
    page = written(story)
    history = client.get(f"/v1/runs/{story}/settings/history").json()
    tau = value(history["orders"][0]["old"]["threshold"])
    # 30 steps and the change make version 32; step n applies version n.
    (order,) = [cells for cells in page.cells if cells[:1] == ["1"]]
    assert order[2:] == [
        "30",
        "ana",
        f"settings changed\nthreshold {tau} -> 0.3\nepsilon_high null -> 0.28",
        AS_TEXT,
        f"at step 32\nignored: epsilon_high: {AS_TEXT}",
    ]
    assert row(page, "epsilon_high") == ["0.28", "null", "ignored", AS_TEXT]
    assert f"{AS_TEXT} second line" in page.words


def test_the_timeline_says_what_stood_when(written, story):
    page = written(story)
    (timeline,) = [one for one in page.pictures if one["title"].startswith("What happened when")]
    # Raised in this order: what the trainer ignores from step 31 on, and a stall after 50 steps.
    assert timeline["desc"] == (
        "settings_ignored: since step 31, raised at 32; stall: since step 5, raised at 55; "
        "injected: from step 6 to 10; orders: 1 at 32"
    )


def test_reward_functions_are_drawn_one_by_one_where_there_are_several(written, reported):
    def reports(*names: str) -> list[dict[str, object]]:
        return [
            body(step, components={name: {"mean": step / 10} for name in names})
            for step in range(1, 11)
        ]

    page = written(reported(new_run_id(), reports("accuracy", "<b>")))
    told = [one["desc"] for one in page.pictures if one["title"].startswith("Reward functions")]
    assert told == [
        "<b> 0.1 at first, 1 at last, from 0.1 to 1; "
        "accuracy 0.1 at first, 1 at last, from 0.1 to 1"
    ]
    page = written(reported(new_run_id(), reports("accuracy")))
    assert not any(one["title"].startswith("Reward functions") for one in page.pictures)


def test_what_a_guarded_controller_did_is_told(written, reported):
    # 64 groups are seen after 4 steps of 16, and three quarters of them are all wrong.
    page = written(reported(new_run_id(), stuck(8), profile="guarded"))
    assert row(page, "4") == ["off -> active: 0.750 less 1.64 x 0.055 is above 0.3"]


def test_in_shadow_it_is_told_what_would_have_been(written, reported):
    shadow = {"injected_wrong": 1, "num_virtual": 4, "advantage_abs_max": 0.5}
    found = applied(1, mode="shadow", shadow=shadow)
    page = written(reported(new_run_id(), [body(1, applied=found)], profile="observe"))
    assert "Nothing was injected." in page.words
    assert "1 all-wrong and 0 all-correct groups would have been injected" in page.words
    assert "Shadow: K, the virtual rewards of a group, was 4; |A| up to 0.50" in page.words


def test_a_result_is_held_against_the_forecast(written, folder):
    # A store of its own: results of other tests could take the place of the paper's line.
    with stock_redis(folder) as redis_url, api_server(redis_url) as url:
        path = f"{url}/v1/runs/run-1"
        httpx.post(f"{url}/v1/runs", json={"id": "run-1"})
        httpx.post(f"{path}/steps", json=[body(step) for step in range(1, 101)])
        for accuracy, words in ((0.9, "above"), (0.36, "within"), (0.01, "below")):
            result = {"accuracy": accuracy, "benchmark": "MATH-500"}
            httpx.post(f"{path}/result", json=result)
            page = written("run-1", "--url", url)
            # ACR_100 is 0.5: 51.4 % - 29.6 % * 0.5 = 36.6 %, and 11.1 % to both sides.
            assert "Expected on MATH-500: 36.6 %, 25.5 % to 47.7 %" in page.words
            assert f"on MATH-500: {words} the interval" in page.words
        httpx.post(f"{path}/result", json={"accuracy": 0.4, "benchmark": "AIME"})
        assert "40.0 % on AIME: another benchmark" in written("run-1", "--url", url).words


def test_steps_that_were_done_over_again_are_said_to_be(client, written, reported):
    run_id = reported(new_run_id(), [body(step) for step in range(1, 6)])
    client.post("/v1/runs", json={"id": run_id, "resume_from_step": 3})
    page = written(run_id)
    assert "3, in 2 attempts" in page.words
    assert "Steps that an attempt did over again" in page.words
    client.post("/v1/runs", json={"id": run_id, "resume_from_step": 0})
    page = written(run_id)
    assert "waits for its first report" in page.words
    assert "No step was reported yet." in page.words
    assert "does not say" not in page.words


def test_of_a_trainer_that_does_not_say_what_it_applied_nothing_is_claimed(written, reported):
    page = written(reported(new_run_id(), [body(step) for step in range(1, 6)]))
    assert "Nothing was injected" not in page.words
    assert "The trainer does not say what it injected." in page.words
    assert "The trainer does not say which settings it applied." in page.words
    page = written(reported(new_run_id(), [body(1, applied=applied(1))]))
    assert "Nothing was injected." in page.words


# Strange runs


def test_a_run_without_a_step(written, reported):
    page = written(reported(new_run_id(), []))
    assert "waits for its first report" in page.words
    assert "No step was reported yet." in page.words
    assert page.pictures == []


def test_a_run_with_one_step(written, reported):
    page = written(reported(new_run_id(), [body(1)]))
    # 2 of 4 groups are mixed; the mean reward is (0.5 + 0.5 + 0 + 1) / 4.
    assert row(page, "ACR") == ["0.5"] * 4
    assert row(page, "reward") == ["0.5"] * 4
    assert len(page.pictures) == 2


def test_a_run_in_which_nothing_was_ever_scored(written, reported):
    nothing = [{"step": step, "rewards": [[None, None], [None]]} for step in range(1, 31)]
    page = written(reported(new_run_id(), nothing))
    assert "in no rate: 60 groups" in page.words
    assert "Never reported, or never a number: reward, ACR, entropy" in page.words
    (groups,) = [one["desc"] for one in page.pictures if "outcome" in one["title"]]
    assert groups.startswith("not scored 100%")


def test_a_trainer_without_a_reference_has_no_kl_and_the_page_says_why(written, reported):
    page = written(reported(new_run_id(), [body(1)], config={"beta": 0.0}))
    assert "KL: the trainer's beta is 0" in page.words


LONG = 100_000
MOST_BYTES = 400_000


@pytest.fixture
def long_run(reported, redis_url):
    """100,000 steps of noise, with a spike of the gradient; the records of 3 are kept."""
    run_id = reported(new_run_id(), [body(step) for step in (1, 2, LONG)])
    rows = np.random.default_rng(0).random((LONG, len(COLUMNS)))
    rows[:, COLUMNS.index("step")] = range(1, LONG + 1)
    rows[:, COLUMNS.index("attempt")] = 1
    rows[77_776, COLUMNS.index("grad_norm")] = 9.75
    keys = RunKeys(run_id)
    with Redis.from_url(redis_url) as redis:
        redis.set(keys.series, rows.astype("<f8").tobytes())
        redis.hdel(keys.steps, "1:1", "1:2")
        yield run_id
        redis.delete(*keys.all)


def test_a_long_run_is_a_small_page_that_keeps_its_spikes(written, long_run, tmp_path):
    page = written(long_run)
    assert row(page, "gradient norm")[3] == "9.75"
    assert "Each point is the mean of 834 steps" in page.words
    assert f"Records of steps before {LONG} are dropped" in page.words
    assert (tmp_path / "report.html").stat().st_size < MOST_BYTES


def test_of_many_records_only_some_are_read(client, written, reported):
    path = reported(new_run_id(), [body(step, applied=applied(step)) for step in range(1, 121)])
    page = written(path)
    assert f"at {NUM_SAMPLES} sampled steps: at most 0 steps" in page.words


def test_samples_are_of_steps_that_were_reported(base_url, reported):
    numbers = range(7, 1401, 7)
    run_id = reported(new_run_id(), [body(step) for step in numbers])
    with MonitorApi(base_url) as monitor:
        found = [one.step for one in gathered(monitor, run_id).samples]
    assert (len(found), found[0], found[-1]) == (NUM_SAMPLES, 7, 1400)
    # 199 steps on in 59: 3 or 4 at a time.
    assert {(later - one) // 7 for one, later in itertools.pairwise(found)} == {3, 4}


def test_the_oldest_record_is_found_between_gaps(base_url, reported, redis_url):
    run_id = reported(new_run_id(), [body(step) for step in range(1, 402, 50)])
    with Redis.from_url(redis_url) as redis:
        redis.hdel(RunKeys(run_id).steps, "1:1", "1:51")
    with MonitorApi(base_url) as monitor:
        found = [one.step for one in gathered(monitor, run_id).samples]
    assert found == [101, 151, 201, 251, 301, 351, 401]


# Beside other runs


def test_runs_are_put_beside_each_other_at_equal_steps(written, reported):
    one = reported(f"{new_run_id()}-a", [body(step) for step in range(1, 41)])
    # Its ACR is 1 up to step 18 and 0 from then on.
    groups = [[WRONG, CORRECT]] * 18 + [[MIXED, MIXED]] * 4
    reports = [{"step": step, "rewards": its} for step, its in enumerate(groups, start=1)]
    other = reported(f"{new_run_id()}-b", reports)
    page = written(one, "--compare", other)
    # Both have the steps 1 to 22; (22 - 1) // 10 = 2, so 20 to 22 are the last tenth.
    assert "Means of the steps 20 to 22" in page.words
    # Last step, reward, ACR, all wrong, all correct.
    assert row(page, one) == ["40", "0.5", "0.5", "0.25", "0.25"]
    assert row(page, other) == ["22", "0.5", "0", "0", "0"]
    assert "no evidence" in page.words
    drawn = [one["title"] for one in page.pictures][-2:]
    assert drawn == ["ACR, pooled, steps 1 to 40", "Reward, steps 1 to 40"]


def test_a_log_and_a_run_can_be_put_beside_each_other(written, reported, tmp_path):
    run_id = reported(new_run_id(), [body(step) for step in range(1, 21)])
    log = jsonl(tmp_path / "log.jsonl", rising(20))
    page = written(log, "--compare", run_id)
    assert headings(page)[:2] == ["acr report", str(log)]
    assert row(page, run_id)[:3] == ["20", "0.5", "0.5"]
    # 0.2 + 0.6 * 19.5 / 20, give or take 0.02: the mean of the steps 19 and 20.
    assert float(row(page, str(log))[1]) == pytest.approx(0.785, abs=0.02)


def test_a_run_without_steps_is_beside_others_in_words_only(written, reported):
    one = reported(f"{new_run_id()}-a", [body(1)])
    other = reported(f"{new_run_id()}-b", [])
    page = written(one, "--compare", other)
    assert "There is no step that all of them have" in page.words


# From logs alone


def test_logs_need_no_monitor(acr, tmp_path, monkeypatch):
    monkeypatch.setenv("ACR_MONITOR_URL", "http://127.0.0.1:1")
    (tmp_path / "run").mkdir()
    jsonl(tmp_path / "run" / "log.jsonl", rising())
    (tmp_path / "run" / "config.json").write_text("{}")
    target = tmp_path / "report.html"
    assert acr("report", str(tmp_path / "run"), "--html", str(target)).status == 0
    page = Page(target.read_text())
    assert "Healthy: reward rose" in page.words
    assert "--url" not in page.words
    # Written again over itself.
    assert acr("report", str(tmp_path / "run"), "--html", str(target)).status == 0


def test_what_is_said_about_a_log_goes_into_the_command_to_repeat(written, tmp_path):
    log = jsonl(tmp_path / "log.jsonl", rising())
    page = written(log, "--reward-low", "0", "--reward-high", "2")
    assert "--reward-low 0.0 --reward-high 2.0" in page.words


# Refused


def test_a_folder_of_several_logs_has_to_be_narrowed_down(refused, tmp_path):
    for name in "abcde":
        jsonl(tmp_path / f"{name}.jsonl", rising())
    said = refused(tmp_path)
    assert said.startswith(f"1: acr: {tmp_path} holds 5 logs, and a report tells of one")
    assert "c.jsonl and 2 more" in said


def test_a_file_that_is_no_log_is_not_taken_for_a_run(refused, tmp_path):
    (tmp_path / "config.json").write_text('{"learning_rate": 1e-6}')
    said = refused(tmp_path / "config.json")
    assert said.startswith("1: acr: ")
    assert "config.json is here, so no monitor was asked; but it is no log" in said


def test_a_name_that_is_nothing_is_told_for_both_readings(refused):
    said = refused("no-such-run")
    assert said.startswith("1: hint: no file or folder here is named so, so a monitor was asked")
    assert "no run 'no-such-run'" in said


def test_a_path_that_is_not_here_can_be_no_run(refused):
    said = refused("runs/no/such.jsonl")
    assert said.startswith("2: ")
    assert "'runs/no/such.jsonl' is no file or folder here, and no run has such an id" in said


def test_a_monitor_that_does_not_answer(refused):
    said = refused("run-1", "--url", "http://127.0.0.1:1")
    assert said.startswith("1: hint: no file or folder here")
    assert "no monitor answers at http://127.0.0.1:1" in said


def test_a_deleted_run_is_told_how_to_come_back(client, refused, reported):
    run_id = reported(new_run_id(), [body(1)])
    client.delete(f"/v1/runs/{run_id}")
    assert f"bring it back with: acr restore {run_id}" in refused(run_id)


def test_a_token_that_may_only_read_is_enough(acr, folder, tmp_path, monkeypatch):
    with acr_serve(folder) as server:
        with httpx.Client(base_url=server.url, trust_env=False) as http:
            http.post("/v1/runs", json={"id": "run-1"})
        made = acr("token", "create", "viewer", "--scope", "read", "--data-dir", str(folder))
        token = made.out.strip()
        server.restart()  # So that the first token holds at once.
        target = tmp_path / "report.html"
        command = ("report", "run-1", "--url", server.url, "--html", str(target))
        assert "a token is needed" in acr(*command).err
        monkeypatch.setenv("ACR_TOKEN", token)
        assert acr(*command).status == 0
    assert token not in target.read_text()


def test_names_that_are_too_many_or_given_twice(refused):
    many = [part for index in range(comparison.MOST) for part in ("--compare", f"r{index}")]
    assert "--compare: at most 7 times; got 8" in refused("run", *many)
    assert "run is named twice" in refused("run", "--compare", "run")


def test_another_file_is_kept(acr, tmp_path):
    target = tmp_path / "log.jsonl"
    jsonl(target, rising())
    before = target.read_bytes()
    ended = acr("report", str(target), "--html", str(target))
    assert ended.status == 2
    assert target.read_bytes() == before


def test_without_matplotlib_the_extra_is_named(refused, monkeypatch):
    monkeypatch.setattr(svg, "find_spec", lambda name: None)
    said = refused("run-1")
    assert said.startswith("2: ")
    assert "acr-monitor[diagnose]" in re.sub(r"\s", "", said)
