"""What trainers print: dictionaries, verl's lines, key=value; through colours, bars and ranks."""

import pytest

from monitor_service.diagnose.sources import NotALog
from tests.diagnose.samples import column, judged, problems, read


def bar(at: int, of: int = 500) -> str:
    """A progress bar as a trainer draws it, over itself."""
    return f"\r {at * 100 // of:>2}%|{'#' * (at * 10 // of):<10}| {at}/{of} [00:{at % 60:02}<10:00]"


def test_dictionaries_take_their_step_from_the_progress_bar(tmp_path):
    path = tmp_path / "train.log"
    lines = ["Loading checkpoint shards: 100%|##########| 2/2 [00:00<00:00]\n"]
    for step in (10, 20, 30):
        lines.append("".join(bar(at) for at in range(step - 9, step + 1)))
        lines.append(f"\r{{'loss': 0.1, 'reward': {step / 100}, 'epoch': 0.1}}\n")
    path.write_text("".join(lines))
    log = read(path)
    assert (log.format, log.step_key) == ("console", "the progress bar")
    assert column(log, "reward") == {10: 0.1, 20: 0.2, 30: 0.3}


def test_dictionaries_without_a_bar_are_numbered_and_it_is_said(tmp_path):
    path = tmp_path / "train.log"
    path.write_text("".join(f"{{'reward': 0.{step}, 'kl': 0.0}}\n" for step in (1, 2, 3)))
    log = read(path)
    assert column(log, "reward") == {1: 0.1, 2: 0.2, 3: 0.3}
    assert any("rows are numbered" in caveat for caveat in log.caveats)


def test_quoted_numbers_and_numpy_scalars_are_numbers(tmp_path):
    path = tmp_path / "train.log"
    path.write_text(
        "{'loss': '0.01', 'reward': '0.5', 'grad_norm': np.float64(1.5), 'kl': nan}\n"
        '{"loss": 0.01, "reward": tensor(0.75), "grad_norm": inf}\n'
    )
    one = judged(path)
    assert one.replay.series.values["reward_mean"] == {1: 0.5, 2: 0.75}
    assert one.replay.series.values["grad_norm"] == {1: 1.5}
    assert problems(one.log) == {
        "kl is NaN or infinite": ["1"],
        "grad_norm is NaN or infinite": ["2"],
    }


def test_lines_of_verl_are_read_through_colours_and_process_names(tmp_path):
    path = tmp_path / "train.log"
    path.write_text(
        "\x1b[36m(main_task pid=7)\x1b[0m {'actor': {'grad_clip': 1.0,\n"
        + "".join(
            f"\x1b[36m(main_task pid=7)\x1b[0m step:{step} - critic/score/mean:0.{step} - "
            f"critic/rewards/mean:0.9 - actor/entropy_loss:0.5 - actor/ppo_kl:-0.002 - "
            f"actor/lr(1e-4):0.01 - response_length/clip_ratio:np.float64(0.25)\n"
            for step in range(3)
        )
    )
    one = judged(path)
    values = one.replay.series.values
    assert values["reward_mean"] == {0: 0.0, 1: 0.1, 2: 0.2}
    assert values["entropy"][0] == 0.5
    assert values["truncated_fraction"][0] == 0.25
    # The estimate of one update's KL can be negative; its size is what counts.
    assert values["kl"][0] == 0.002
    assert any("actor/ppo_kl is the KL of an update" in caveat for caveat in one.caveats)


def test_a_negative_entropy_loss_is_minus_the_entropy(tmp_path):
    path = tmp_path / "train.log"
    path.write_text(
        "".join(f"step:{step} - reward:0.5 - entropy_loss:-0.7 - kl:0\n" for step in range(3))
    )
    assert judged(path).replay.series.values["entropy"] == {0: 0.7, 1: 0.7, 2: 0.7}


def test_key_value_lines_of_a_loop_of_ones_own_are_read(tmp_path):
    path = tmp_path / "train.log"
    path.write_text(
        "[run] Loading data...\n"
        "[run]   1/3 | loss=-4.6 | reward=0.625 | acc=62.5%\n"
        "[run]   2/3 | loss=0.0 | reward=0.000 | acc=0.0%\n"
        "[run]   -> checkpoint s2\n"
        "[run]   3/3 | loss=1.2 | reward=0.250 | acc=25.0%\n"
        "[run] Zero-reward steps: 1/3 (33%)\n"
    )
    assert column(read(path), "reward") == {1: 0.625, 2: 0.0, 3: 0.25}


def test_the_postfix_of_a_progress_bar_is_read(tmp_path):
    path = tmp_path / "train.log"
    path.write_text(
        "".join(
            f"\rTrain epoch [1/1]: 50%|#####     | {at}/9 [00:01<00:01, 2it/s, pg=0.1, rm=0.{at}, "
            "ret=0.1, glen=200, kl=0.01, act_lr=1e-6]"
            for at in (1, 2)
        )
        + "\n"
    )
    one = judged(path)
    assert set(one.replay.series.keys.values()) >= {"rm", "glen", "kl", "pg"}


def test_ranks_that_print_the_same_steps_count_once(tmp_path):
    path = tmp_path / "train.log"
    path.write_text(
        "".join(
            f"[rank{rank}]: {{'reward': 0.{step}, 'kl': 0.0, 'loss': 0.{rank}}}\n"
            for step in (1, 2, 3)
            for rank in (0, 1)
        )
    )
    assert column(read(path), "reward") == {1: 0.1, 2: 0.2, 3: 0.3}


def test_rows_of_two_ranks_in_one_line_are_both_read(tmp_path):
    path = tmp_path / "train.log"
    path.write_text("{'reward': 0.1, 'kl': 0.0}{'reward': 0.2, 'kl': 0.0}\n")
    assert column(read(path), "reward") == {1: 0.1, 2: 0.2}


def test_the_output_of_another_program_is_no_log(tmp_path):
    path = tmp_path / "syslog"
    path.write_text("Nov 20 14:50:01 host cron[1]: (root) CMD (true)\n" * 50)
    with pytest.raises(NotALog, match="nothing in it looks like metrics"):
        read(path)


def test_rollouts_in_markdown_are_grouped_by_their_prompt(tmp_path):
    path = tmp_path / "rollouts.md"
    sample = (
        "### Sample {n}\n\n**Prompt:** {prompt}\nsecond line\n\n**Completion:** c\n\n"
        "**Rewards:** accuracy={a:.3f}, format=1.000, total={total:.3f}\n\n---\n\n"
    )
    text = "# Rollout log\n\n"
    for step in (1, 2):
        text += f"## === Rollout Step {step} === | 2025-01-01\n\n| Metric | Value |\n|---|---|\n"
        for n, (prompt, right) in enumerate([("p", 1), ("p", 1), ("q", 0), ("q", step - 1)]):
            text += sample.format(n=n, prompt=prompt, a=right, total=right + 1)
    path.write_text(text)
    one = judged(path)
    assert (one.log.format, one.log.group_key) == ("markdown", "the prompt's text")
    # Step 1: both groups agree. Step 2: the rewards of q are 1 and 2.
    assert one.replay.series.values["acr"] == {1: 1.0, 2: 0.5}


def test_a_markdown_table_of_steps_is_a_table(tmp_path):
    path = tmp_path / "notes.md"
    path.write_text(
        "# Run\n\n| a | b |\n|---|---|\n| 1 | 2 |\n\n"
        "| step | reward | kl |\n|:---|---:|---|\n| 1 | 0.5 | 0 |\n| 2 | 0.7 | 0 |\n| 3 |\n"
    )
    log = read(path)
    assert column(log, "reward") == {1: 0.5, 2: 0.7}
    assert problems(log) == {"a row with another number of cells; left out": ["11"]}
