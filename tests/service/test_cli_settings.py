"""`acr set` and `acr unset`: for good, for a while, and back again."""

import json

import pytest
import typer
from hypothesis import given
from hypothesis import strategies as st

from monitor_service.cli import values
from monitor_service.cli.values import NULLABLE
from monitor_service.engine.settings import KNOBS
from monitor_service.formats import span
from tests.service.acr import applied, stuck
from tests.service.reports import body


@pytest.fixture
def settings(client, run_id):
    """The run's settings as they are now."""
    return lambda: client.get(f"/v1/runs/{run_id}/settings").json()["settings"]


def test_set_changes_settings_and_says_what_they_are_now(acr, client, run_id):
    ended = acr("set", run_id, "threshold=0.3", "target=wrong", "-r", "too many correct ones")
    assert (ended.status, ended.err) == (0, "")
    assert ended.out == f"{run_id}: threshold=0.3 target=wrong  (version 2, after step 0)\n"
    view = client.get(f"/v1/runs/{run_id}/settings").json()
    assert (view["settings"]["threshold"], view["settings"]["target"]) == (0.3, "wrong")
    assert (view["changed"]["actor"], view["changed"]["reason"]) == ("ana", "too many correct ones")


def test_set_json_is_what_the_api_says(acr, client, run_id):
    for end in ((), ("--for", "5m")):
        ended = acr(
            "set", run_id, "alpha=0.4", "temperature=0.9", "--reason", "why", "--json", *end
        )
        assert json.loads(ended.out) == client.get(f"/v1/runs/{run_id}/settings").json()


@pytest.mark.parametrize("text", ["3e-1", "0.3", ".3", "+.3"])
def test_set_reads_numbers_as_people_write_them(acr, settings, run_id, text):
    assert acr("set", run_id, f"threshold={text}", "-r", "why").status == 0
    assert settings()["threshold"] == 0.3


@pytest.mark.parametrize("text", ["null", "none", "None"])
def test_set_gives_a_knob_back_to_the_trainer(acr, settings, run_id, text):
    acr("set", run_id, "temperature=0.9", "-r", "why")
    assert settings()["temperature"] == 0.9
    ended = acr("set", run_id, f"temperature={text}", "-r", "why")
    assert ended.out.startswith(f"{run_id}: temperature=null ")
    assert settings()["temperature"] is None


def test_none_is_a_word_where_a_setting_may_be_called_that(acr, settings, run_id):
    acr("set", run_id, "strategy=none", "loss_mask=True", "benefit_check=false", "-r", "why")
    found = settings()
    assert (found["strategy"], found["loss_mask"], found["benefit_check"]) == ("none", True, False)


def test_every_knob_can_be_given_back_and_no_name_of_a_law_can():
    assert set(KNOBS) < NULLABLE
    assert not NULLABLE & {"strategy", "controller", "mode", "threshold"}


@pytest.mark.parametrize(
    ("changes", "is_told"),
    [
        (["threshold=0.95"], True),
        (["threshold=0.05"], True),
        (["threshold=0.9"], False),
        (["threshold=0.95", "controller=fixed"], False),
        (["alpha=0.4"], False),
    ],
)
def test_set_tells_of_a_threshold_that_will_not_stay(acr, run_id, changes, is_told):
    ended = acr("set", run_id, *changes, "-r", "why")
    hint = "hint: the paper controller keeps it in [0.1, 0.9]; add controller=fixed to pin it\n"
    assert (ended.status, ended.err) == (0, hint if is_told else "")


@pytest.mark.parametrize("end", [(), ("--for-steps", "5")], ids=["for good", "for a while"])
@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("threshold=7", "threshold: must be a number in [0, 1]; got 7"),
        ("threshold=high", "threshold: must be a number in [0, 1]; got 'high'"),
        ("threshold=none", "threshold: must be a number in [0, 1]; got 'none'"),
        ("threshold=null", "threshold: must be a number in [0, 1]; got None"),
        ("threshold=inf", "threshold: must be a number in [0, 1]; got 'inf'"),
        ("threshold=[/]", "threshold: must be a number in [0, 1]; got '[/]'"),
        ("tau=0.5", "tau: no setting; one of profile, mode, controller, threshold,"),
    ],
)
def test_a_refused_change_is_said_in_the_services_words_with_status_1(
    acr, settings, run_id, change, words, end
):
    ended = acr("set", run_id, change, "-r", "why", *end)
    assert (ended.status, ended.out) == (1, "")
    assert ended.err.startswith(f"acr: {words}")
    assert settings()["revision"] == 1


def test_a_change_made_for_an_older_revision_says_who_was_faster(acr, settings, run_id):
    assert acr("set", run_id, "alpha=0.4", "-r", "mine", "--if-revision", "1").status == 0
    ended = acr("set", run_id, "alpha=0.9", "-r", "mine too", "--if-revision", "1")
    assert (ended.status, ended.out) == (1, "")
    assert ended.err.startswith("acr: you saw revision 1, the settings are at 2; ana changed alpha")
    assert settings()["alpha"] == 0.4


def test_with_both_ends_it_says_what_is_in_force_until_when(acr, settings, client, run_id):
    client.post(f"/v1/runs/{run_id}/steps", json=stuck(3))
    end = ("--for-steps", "20", "--for", "1h30m")
    ended = acr("set", run_id, "threshold=0.4", "-r", "a look", *end)
    (override,) = settings()["overrides"]
    assert (override["changes"], override["until_step"]) == ({"threshold": 0.4}, 3 + 20)
    assert (override["actor"], override["reason"]) == ("ana", "a look")
    title, until, how_to_end = ended.out.splitlines()
    assert title.startswith(f"{run_id}: override 1: threshold=0.4  (version")
    assert until.startswith("  for 20 steps (until step 23) or 1h30m (until 20")
    assert how_to_end == f"  end it earlier with: acr unset {run_id} 1"
    assert settings()["threshold"] != 0.4


@pytest.mark.parametrize(
    ("given", "steps", "length_s", "words"),
    [
        (("--for-steps", "1"), 1, 24 * 3600, "for 1 step (until step 1) or 24h"),
        (("--for", "90s"), 500, 90, "for 500 steps (until step 500) or 1m30s"),
    ],
)
def test_the_end_that_is_not_given_is_the_furthest_and_that_is_said(
    acr, client, run_id, given, steps, length_s, words
):
    ended = acr("set", run_id, "threshold=0.4", "-r", "why", *given)
    view = client.get(f"/v1/runs/{run_id}/settings").json()
    (override,) = view["settings"]["overrides"]
    assert override["until_step"] == steps
    assert override["until_s"] - view["changed"]["at_s"] == pytest.approx(length_s, abs=1e-3)
    assert words in ended.out
    missing = ("--for is 24h", "--for-steps is 500 steps")
    told = [text for text in missing if f"without {text}" in ended.words.replace(" it is", " is")]
    assert told == [missing[given[0] == "--for"]]


def test_set_tells_that_an_override_hides_what_it_changed(acr, run_id):
    acr("set", run_id, "threshold=0.4", "alpha=0.3", "-r", "why", "--for", "5m")
    assert acr("set", run_id, "target=wrong", "-r", "why").err == ""
    ended = acr("set", run_id, "threshold=0.6", "-r", "why")
    how = f"end it with acr unset {run_id} 1"
    assert ended.err == f"hint: override 1 keeps threshold=0.4 for now; {how}\n"


def test_unset_ends_an_override_and_names_those_that_go_on(acr, settings, run_id):
    acr("set", run_id, "threshold=0.4", "-r", "why", "--for", "5m")
    acr("set", run_id, "alpha=0.3", "-r", "why", "--for", "5m")
    ended = acr("unset", run_id, "1")
    assert ended.out.splitlines()[0].startswith(f"{run_id}: override 1 ended ")
    assert ended.out.splitlines()[1:] == ["  still acting: 2: alpha=0.3"]
    assert [one["number"] for one in settings()["overrides"]] == [2]
    assert len(acr("unset", run_id, "2", "-r", "seen enough").out.splitlines()) == 1
    gone = acr("unset", run_id, "2")
    assert (gone.status, gone.out) == (1, "")
    assert gone.err.startswith("acr: override: ")


def test_unset_json_is_what_the_api_says(acr, client, run_id):
    acr("set", run_id, "threshold=0.4", "-r", "why", "--for", "5m")
    ended = acr("unset", run_id, "1", "--json")
    assert json.loads(ended.out) == client.get(f"/v1/runs/{run_id}/settings").json()


def test_a_knob_is_shown_beside_what_the_trainer_said_about_it_last(acr, client, run_id):
    ended = acr("set", run_id, "temperature=0.9", "beta=0.01", "-r", "why")
    assert "temperature 0.9 - not reported on yet" in ended.words
    knobs = {
        "temperature": {"status": "applied", "value": 0.9},
        "beta": {"status": "ignored", "value": 0.0, "reason": "no reference model"},
    }
    client.post(f"/v1/runs/{run_id}/steps", json=body(1, applied=applied(1, knobs=knobs)))
    ended = acr("set", run_id, "temperature=1.1", "beta=0.02", "-r", "why")
    assert "what the trainer reported at step 1;" in ended.words
    assert "temperature 1.1 0.9 applied" in ended.words
    assert "beta 0.02 0 ignored no reference model" in ended.words
    assert "beta" not in acr("set", run_id, "temperature=1", "-r", "why").out


def test_set_tells_that_nothing_acts_on_a_run_that_is_locked(acr, client, run_id):
    told = f"nothing is injected until acr rearm {run_id} -r REASON\n"
    acr("set", run_id, "profile=guarded", "max_active_steps=1", "-r", "why")
    client.post(f"/v1/runs/{run_id}/steps", json=stuck(6))
    by_itself = acr("set", run_id, "alpha=0.4", "-r", "why")
    assert by_itself.err == f"hint: the run is locked by its controller: {told}"
    acr("kill", run_id)
    for_a_while = acr("set", run_id, "alpha=0.3", "-r", "why", "--for-steps", "5")
    assert for_a_while.err == f"hint: the run was killed: {told}"


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90s", 90), ("30m", 1800), ("2h", 7200), ("1.5h", 5400), ("1H30M", 5400), ("1d", 86400)],
)
def test_a_time_is_read_in_its_units(text, seconds):
    assert values.span_s(text) == seconds


@pytest.mark.parametrize("text", ["", "30", "m", "30x", "-5m", "5 m", "0s", "86401s", "2d", "1h30"])
def test_a_time_without_a_unit_or_out_of_range_is_refused_by_its_text(text):
    with pytest.raises(typer.BadParameter, match=f"'{text}' is not"):
        values.span_s(text)


@given(st.integers(min_value=1, max_value=86400))
def test_a_span_that_was_written_is_read_back_to_within_its_smallest_unit(seconds):
    # Above an hour seconds are left out.
    precision_s = 60 if seconds >= 3600 else 1
    assert seconds - precision_s < values.span_s(span(seconds)) <= seconds
