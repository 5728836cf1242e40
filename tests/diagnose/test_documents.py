"""JSON documents: trainer states, tables, accuracies of prompts, and what is broken or no log."""

import json

import pytest

from monitor_service.diagnose.sources import NotALog, Unreadable
from tests.diagnose.samples import column, judged, problems, read, rising, trainer_state


def test_a_trainer_state_is_read_from_its_history(tmp_path):
    log = read(trainer_state(tmp_path / "trainer_state.json", rising(40)))
    assert (log.format, len(log.cells)) == ("trainer_state", 40)


def test_older_keys_mean_the_same(tmp_path):
    rows = [
        {"step": step, "reward": 0.5, "completion_length": 90.0, "zero_std_ratio": 0.5}
        | {"rewards/format": 0.25}
        for step in range(1, 31)
    ]
    series = judged(trainer_state(tmp_path / "state.json", rows)).replay.series
    assert series.values["completion_length_mean"][1] == 90.0
    assert series.values["acr"][1] == 0.5
    assert series.components["format"][1] == (0.25, None)


def test_a_state_cut_in_the_middle_gives_its_complete_rows_and_the_place(tmp_path):
    path = trainer_state(tmp_path / "trainer_state.json", rising(40))
    text = path.read_text()
    cut = text[: text.index('"step": 21')]
    path.write_text(cut)
    log = read(path)
    assert log.format == "trainer_state"
    assert list(column(log, "reward")) == list(range(1, 21))
    (text, places), *_ = problems(log).items()
    assert text == "the file ends in the middle; the 20 complete rows before it were read"
    assert places[0].startswith(f"{cut.count(chr(10)) + 1}:")


def test_a_state_broken_in_the_middle_says_where(tmp_path):
    path = tmp_path / "history.json"
    path.write_text('[\n{"step": 1, "reward": 0.5},\n{"step": 2, "reward" 0.5},\n{"step": 3}\n]')
    log = read(path)
    text = "broken JSON: Expecting ':' delimiter; the 1 complete rows before it were read"
    assert problems(log) == {text: ["3:22"]}


def test_a_document_that_breaks_before_its_first_row_is_unreadable(tmp_path):
    path = tmp_path / "history.json"
    path.write_text('[\n  {"step": 1, "reward')
    with pytest.raises(Unreadable, match="before one complete row") as raised:
        read(path)
    assert raised.value.line == 2


def test_columns_and_steps_as_keys_are_tables_too(tmp_path):
    columns = tmp_path / "columns.json"
    columns.write_text(json.dumps({"step": [1, 2], "reward": [0.1, 0.2], "name": "x"}))
    assert column(read(columns), "reward") == {1: 0.1, 2: 0.2}
    by_step = tmp_path / "by_step.json"
    by_step.write_text(json.dumps({"1": {"reward": 0.1}, "2": {"reward": 0.2}}))
    assert column(read(by_step), "reward") == {1: 0.1, 2: 0.2}


def test_nested_metrics_are_flattened(tmp_path):
    path = tmp_path / "nested.json"
    rows = [{"step": step, "metrics": {"reward": 0.5, "kl": 0.1}} for step in (1, 2)]
    path.write_text(json.dumps(rows))
    assert column(read(path), "reward") == {1: 0.5, 2: 0.5}


def test_accuracies_of_prompts_become_groups_of_the_size_that_explains_them(tmp_path):
    path = tmp_path / "accuracies.json"
    path.write_text(json.dumps({"17": [0.0, 0.25], "4": [1.0, 0.625], "8": [0.5]}))
    one = judged(path)
    totals = one.replay.totals
    assert totals is not None
    # 0.625 = 5/8.
    assert totals.sizes == {8}
    # First visits: 0, 1 and 0.5: two of three agree.
    assert one.replay.series.values["acr"][1] == pytest.approx(2 / 3)
    assert "a step here is the visit number of a prompt, not a step of training" in one.caveats


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ({"model": "m", "learning_rate": 1e-6}, "one JSON object without rows over steps"),
        ([{"step": 1, "eval_loss": 2.0}], "no metrics of reinforcement learning"),
        ([1, 2, 3], "JSON without rows"),
        ([{"step": 1, "val_acc": 0.1, "lr_now": 3}], "keys found: lr_now, val_acc"),
    ],
)
def test_what_is_no_log_is_told_why(tmp_path, content, says):
    path = tmp_path / "config.json"
    path.write_text(json.dumps(content))
    with pytest.raises(NotALog, match=says):
        read(path)


def test_nesting_beyond_reason_is_unreadable_not_a_crash(tmp_path):
    path = tmp_path / "deep.json"
    path.write_text('[{"a":' * 100_000)
    with pytest.raises((Unreadable, NotALog)):
        read(path)


def test_a_number_of_many_digits_is_infinite_or_refused(tmp_path):
    path = tmp_path / "big.json"
    path.write_text('[{"step": 1, "reward": 1' + "0" * 400 + '}, {"step": 2, "reward": 0.5}]')
    one = judged(path)
    assert one.replay.series.values["reward_mean"] == {2: 0.5}
    path.write_text('[{"step": 1, "reward": 1' + "0" * 5000 + "}]")
    with pytest.raises(Unreadable, match="JSON that cannot be read"):
        read(path)
