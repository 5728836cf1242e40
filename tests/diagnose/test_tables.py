"""JSONL, CSV, notebook tables and Parquet: read whole, and with every fault named by its place."""

import gzip
import importlib

import pytest

from monitor_service.diagnose.log import number
from monitor_service.diagnose.readers import table
from monitor_service.diagnose.sources import NotALog, Unreadable
from tests.diagnose.samples import column, csv, jsonl, judged, problems, read, rising, rollouts


def test_jsonl_of_metrics_is_recognised_whatever_its_name(tmp_path):
    log = read(jsonl(tmp_path / "anything.txt", rising(40)))
    assert log.format == "jsonl"
    assert len(log.cells) == 40
    assert log.step_key == "step"


def test_gzip_is_seen_through_by_content_not_by_name(tmp_path):
    plain = jsonl(tmp_path / "a.jsonl", rising(30))
    packed = tmp_path / "b.jsonl"
    packed.write_bytes(gzip.compress(plain.read_bytes()))
    assert column(read(packed), "reward") == column(read(plain), "reward")


def test_a_gzip_stream_that_breaks_off_is_read_up_to_there(tmp_path):
    noise = [{**row, "note": str(number)} for number, row in enumerate(rising(400))]
    packed = gzip.compress(jsonl(tmp_path / "a.jsonl", noise).read_bytes())
    cut = tmp_path / "cut.jsonl.gz"
    cut.write_bytes(packed[: len(packed) // 2])
    log = read(cut)
    assert 20 < len(log.cells) < 400
    assert any("break off" in text for text in problems(log))


def test_a_row_that_is_still_being_written_is_left_out_with_its_place(tmp_path):
    path = jsonl(tmp_path / "run.jsonl", rising(30))
    path.write_text(path.read_text() + '{"step": 31, "rew')
    log = read(path)
    assert len(log.cells) == 30
    text = "the file ends in the middle of a row, which was left out"
    # The string that never ends starts at column 14.
    assert problems(log)[text] == ["31:14"]


def test_a_broken_line_in_the_middle_is_named_and_the_others_count(tmp_path):
    path = tmp_path / "run.jsonl"
    lines = jsonl(path, rising(30)).read_text().splitlines()
    lines[10] = "Traceback (most recent call last):"
    lines[20] = "[1, 2]"
    path.write_text("\n".join(lines))
    log = read(path, format="jsonl")
    assert len(log.cells) == 28
    found = problems(log)
    assert found["not JSON: Expecting value; line left out"] == ["11:1"]
    assert found["a line that is no JSON object was left out"] == ["21"]


def test_nan_and_infinity_are_problems_with_places_and_no_numbers(tmp_path):
    path = tmp_path / "run.jsonl"
    path.write_text(
        '{"step": 1, "reward": 0.5, "grad_norm": NaN}\n'
        '{"step": 2, "reward": 0.5, "grad_norm": Infinity}\n'
        '{"step": 3, "reward": 0.5, "grad_norm": 1.0}\n'
    )
    one = judged(path)
    assert problems(one.log)["grad_norm is NaN or infinite"] == ["1", "2"]
    assert one.replay.series.values["grad_norm"] == {3: 1.0}
    assert one.replay.series.non_finite == {1: ("grad_norm",), 2: ("grad_norm",)}


def test_a_key_that_is_never_a_number_is_no_alarm(tmp_path):
    rows = [{**row, "kl": float("nan")} for row in rising(40)]
    one = judged(jsonl(tmp_path / "run.jsonl", rows))
    assert "kl is never a finite number in this log" in one.caveats
    assert not one.replay.series.non_finite


def test_rows_out_of_order_are_sorted_and_it_is_said_where(tmp_path):
    rows = rising(30)
    rows[4], rows[9] = rows[9], rows[4]
    log = read(jsonl(tmp_path / "run.jsonl", rows))
    # Line 6 holds step 6 after step 10, line 10 step 5 after step 9.
    assert problems(log)["steps are not in order; sorted"] == ["6", "10"]
    assert list(column(log, "reward")) == list(range(1, 31))


def test_a_resumed_run_overwrites_the_steps_it_repeats(tmp_path):
    first = [{"step": step, "reward": 0.1, "loss": 0.0} for step in range(1, 11)]
    again = [{"step": step, "reward": 0.9, "loss": 0.0} for step in range(6, 21)]
    log = read(jsonl(tmp_path / "run.jsonl", [*first, *again]))
    rewards = column(log, "reward")
    assert [rewards[step] for step in (5, 6, 20)] == [0.1, 0.9, 0.9]
    # Steps 6 to 10, reward and loss; the first at line 11.
    problem = log.problems["a step comes again later; its later values count"]
    assert problem.count == 10
    assert problem.places[0].line == 11


def test_several_updates_of_a_step_are_merged_and_a_spike_survives(tmp_path):
    rows = [
        {"type": "rollout", "step": 1, "reward": 0.5},
        {"type": "train", "step": 1, "grad_norm": 1.0, "entropy": 0.4},
        {"type": "train", "step": 1, "grad_norm": 900.0, "entropy": 0.6},
        {"type": "eval", "step": 1, "reward": 0.9},
        {"type": "rollout", "step": 2, "reward": 0.5},
    ]
    one = judged(jsonl(tmp_path / "run.jsonl", rows))
    values = one.replay.series.values
    assert values["grad_norm"] == {1: 900.0}
    assert values["entropy"] == {1: 0.5}
    # The evaluation is no training reward.
    assert values["reward_mean"] == {1: 0.5, 2: 0.5}
    assert one.log.num_evaluation_rows == 1


def test_rows_without_a_step_are_numbered_only_when_none_has_one(tmp_path):
    without = [{key: row[key] for key in ("reward", "loss")} for row in rising(30)]
    assert list(read(jsonl(tmp_path / "a.jsonl", without)).cells) == list(range(1, 31))
    mixed = [*rising(30), {"reward": 0.3, "loss": 0.1}]
    log = read(jsonl(tmp_path / "b.jsonl", mixed))
    assert problems(log)["rows without a step were left out"] == ["31"]


def test_numbers_may_be_text_and_percentages():
    assert number("62.5%") == 0.625
    assert number("np.float64(0.25)") == 0.25
    assert number("tensor(2., device='cuda:0')") == 2.0
    assert number("step 3") is None
    # Python would take it for a number.
    assert number("1_000") is None


def test_csv_of_a_notebook_has_blanks_around_slashes(tmp_path):
    path = tmp_path / "log.csv"
    path.write_text(
        "Step,Training Loss,reward,reward_std,rewards / check / mean,rewards / check / std\n"
        "1,0.1,0.5,0.0,0.5,0.1\n2,0.1,1.5,0.3,1.5,0.2\n"
    )
    one = judged(path)
    assert one.replay.series.values["reward_mean"] == {1: 0.5, 2: 1.5}
    assert one.replay.series.components["check"] == {1: (0.5, 0.1), 2: (1.5, 0.2)}


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_csv_may_use_any_usual_delimiter(tmp_path, delimiter):
    log = read(csv(tmp_path / "log.csv", rising(30), delimiter=delimiter))
    assert (log.format, len(log.cells)) == ("csv", 30)


def test_faults_of_a_csv_are_named_by_line(tmp_path):
    path = tmp_path / "log.csv"
    path.write_text("step,reward,kl\n1,0.5,0\n2,0.5\nstep,reward,kl\n3,0.5,0,9\n4,0.5,0\n")
    log = read(path)
    assert problems(log) == {
        "a line with fewer cells than the header": ["3"],
        "the header comes again; line left out": ["4"],
        "a line with more cells than the header; left out": ["5"],
    }
    assert list(column(log, "reward")) == [1, 2, 4]


def test_utf16_as_some_shells_write_it_is_read(tmp_path):
    path = tmp_path / "log.csv"
    path.write_bytes("step,reward\n1,0.5\n2,0.75\n".encode("utf-16"))
    assert column(read(path), "reward") == {1: 0.5, 2: 0.75}


def test_the_progress_table_of_a_notebook_is_read(tmp_path):
    path = tmp_path / "table.html"
    rows = "".join(
        f"<tr><td>{step}</td><td>{step / 10}</td><td>0.{step}</td></tr>\n" for step in (1, 2, 3)
    )
    path.write_text(
        "<div><progress value='3' max='3'></progress> [3/3 00:10]</div>\n<table border=1>"
        "<thead><tr><th>Step</th><th>reward</th><th>rewards / f / std</th></tr></thead>\n"
        f"<tbody>{rows}</tbody></table>"
    )
    log = read(path)
    assert log.format == "html"
    assert column(log, "reward") == {1: 0.1, 2: 0.2, 3: 0.3}


def test_rollouts_go_through_the_engine_group_by_group(tmp_path):
    one = judged(jsonl(tmp_path / "rollouts.jsonl", rollouts()))
    totals = one.replay.totals
    assert totals is not None
    # 30 steps of 4 groups of 4.
    assert (totals.num_groups, totals.num_completions) == (120, 480)
    assert (one.log.reward_key, one.log.group_key) == ("reward", "prompt_id")
    assert one.replay.reward_range is not None
    assert (one.replay.reward_range.low, one.replay.reward_range.high) == (0.0, 1.0)
    lengths = one.replay.series.values["completion_length_mean"]
    assert 50 <= min(lengths.values()) <= max(lengths.values()) <= 60


def test_rewards_of_a_group_may_be_a_list_in_one_row(tmp_path):
    path = tmp_path / "groups.csv"
    path.write_text('step,group,rewards\n1,0,"[1.0, 1.0]"\n1,1,"[0.0, 1.0]"\n2,0,"[0.0, 0.0]"\n')
    one = judged(path)
    # Of step 1 one group of two agrees, of step 2 the only one does.
    assert one.replay.series.values["acr"] == {1: 0.5, 2: 1.0}
    assert one.replay.series.values["acr_wrong"] == {1: 0.0, 2: 1.0}


def test_rollouts_without_a_reward_are_unscored_not_wrong(tmp_path):
    rows = [
        {"step": 1, "prompt_id": "a", "reward": 1.0},
        {"step": 1, "prompt_id": "a", "reward": None},
        {"step": 1, "prompt_id": "a", "reward": 1.0},
    ]
    one = judged(jsonl(tmp_path / "rollouts.jsonl", rows))
    assert problems(one.log) == {"rollouts without a reward count as not scored": ["2"]}
    assert one.replay.series.values["acr_correct"] == {1: 1.0}


def test_columns_can_be_named_and_groups_counted(tmp_path):
    rows = [
        {"iteration": 1 + index // 4, "mark": float(index % 2), "who": "x"} for index in range(8)
    ]
    path = jsonl(tmp_path / "rollouts.jsonl", rows)
    one = judged(path, reward="mark", group_size=2)
    assert one.replay.totals is not None
    assert (one.replay.totals.num_groups, one.replay.totals.sizes) == (4, {2})
    with pytest.raises(NotALog, match="no column 'marks', which --reward-key names"):
        read(path, reward="marks")


def test_parquet_of_completions_sums_its_reward_functions(tmp_path):
    pandas = pytest.importorskip("pandas")
    path = tmp_path / "completions_00007.parquet"
    pandas.DataFrame(
        {
            "step": [7, 7],
            "prompt": ["2+2?", "2+2?"],
            "completion": ["4", "5"],
            "accuracy": [1.0, 0.0],
            "format": [0.5, 0.5],
            "advantage": [0.7, -0.7],
        }
    ).to_parquet(path)
    one = judged(path)
    assert one.log.reward_key == "accuracy+format"
    # (1 + 0.5 + 0 + 0.5) / 2
    assert one.replay.series.values["reward_mean"] == {7: 1.0}


def test_parquet_without_pyarrow_names_the_extra(tmp_path, monkeypatch):
    path = tmp_path / "x.parquet"
    path.write_bytes(b"PAR1 and more")
    real = importlib.import_module

    def refuse(name: str, *rest: object):
        if name.startswith("pyarrow"):
            raise ImportError(name)
        return real(name)

    monkeypatch.setattr(table, "import_module", refuse)
    with pytest.raises(Unreadable, match=r"pip install 'acr-monitor\[diagnose\]'"):
        read(path)


def test_broken_parquet_is_said_to_be_broken(tmp_path):
    path = tmp_path / "x.parquet"
    path.write_bytes(b"PAR1" + b"\0" * 100)
    with pytest.raises(Unreadable, match="broken Parquet"):
        read(path)


def test_decimal_commas_are_numbers_where_semicolons_part_the_cells(tmp_path):
    path = tmp_path / "run.csv"
    rows = [f"{step};0,{step};0,25" for step in range(10, 40)]
    path.write_text("step;reward;reward_std\n" + "\n".join(rows))
    log = read(path)
    assert column(log, "reward")[10] == 0.10
    assert column(log, "reward")[39] == 0.39
    assert log.caveats == ["numbers such as 0,5 were read with a decimal comma"]


def test_keys_that_hold_no_numbers_are_named(tmp_path):
    rows = [{"step": step, "reward": "good", "kl": "low"} for step in range(10)]
    with pytest.raises(NotALog, match=r"keys found: reward \(never a number\), kl \(never a"):
        read(jsonl(tmp_path / "run.jsonl", rows))


def test_a_log_of_supervised_training_is_none_of_reinforcement_learning(tmp_path):
    rows = [{"step": step, "loss": 2.0, "grad_norm": 1.0, "entropy": 0.5} for step in range(50)]
    with pytest.raises(NotALog, match=r"another kind of training; keys found: loss, grad_norm"):
        read(jsonl(tmp_path / "sft.jsonl", rows))
