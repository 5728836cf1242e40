"""`acr diagnose` as people call it: paths, exit status, text, JSON."""

import json
import os
import re
import subprocess
import sys

import pytest

from tests.diagnose.samples import acr, collapsing, csv, jsonl, rising, rollouts, trainer_state


@pytest.fixture
def runs(tmp_path):
    """A folder of runs: one healthy, one collapsed, and a configuration."""
    for name, rows in (("good", rising()), ("bad", collapsing())):
        folder = tmp_path / name
        folder.mkdir()
        trainer_state(folder / "trainer_state.json", rows)
        (folder / "config.json").write_text('{"learning_rate": 1e-6}')
    return tmp_path


def test_one_file_gets_a_headline_figures_and_what_was_read(runs):
    ended = acr(runs / "good" / "trainer_state.json")
    assert ended.exit_code == 0
    for part in ("Healthy: reward rose", "▁", "forecast", "not judged", "120 rows", "-> entropy"):
        assert part in ended.stdout
    assert "Summary" not in ended.stdout


def test_output_that_is_piped_has_no_colours_and_fits_a_hundred_columns(runs):
    ended = acr(runs)
    assert "\x1b" not in ended.stdout
    folder = str(runs)
    lines = [line for line in ended.stdout.splitlines() if folder not in line]
    assert max(map(len, lines)) <= 100


def test_a_folder_is_searched_and_what_is_no_log_is_listed(runs):
    ended = acr(runs)
    assert ended.exit_code == 0
    assert "Summary" in ended.stdout
    assert ended.stdout.count("Not a log") == 1
    assert ended.stdout.count("config.json") == 2


def test_hidden_files_and_links_that_lead_in_circles_are_left_alone(runs):
    (runs / "good" / "again").symlink_to(runs, target_is_directory=True)
    (runs / "self").symlink_to("self")
    (runs / ".cache").mkdir()
    jsonl(runs / ".cache" / "run.jsonl", rising(30))
    assert len(json.loads(acr(runs, "--json").stdout)["files"]) == 4


def test_a_folder_that_cannot_be_looked_into_is_told_and_stops_no_other(runs):
    # Nothing is forbidden to root, but 20 names of 250 characters are no path for anyone.
    here = os.open(runs, os.O_RDONLY)
    for _ in range(20):
        os.mkdir("d" * 250, dir_fd=here)
        below = os.open("d" * 250, os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    os.close(here)
    ended = acr(runs)
    assert ended.exit_code == 1
    assert "File name too long" in ended.stdout
    assert "Healthy" in ended.stdout


def test_a_glob_that_the_shell_left_alone_is_expanded(runs):
    ended = acr(f"{runs}/*/trainer_state.json")
    assert ended.exit_code == 0
    assert ended.stdout.count("120 rows") == 1
    assert ended.stdout.count("60 rows") == 1


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("cut.jsonl", b'{"step": 1, "rew', "no complete row of JSON"),
        ("cut.json", b'[{"step": 1, "rew', "before one complete row"),
        ("half.gz", b"\x1f\x8b\x08\0", "the data break off"),
    ],
)
def test_a_file_that_cannot_be_read_is_told_and_stops_no_other(runs, name, content, reason):
    path = runs / name
    path.write_bytes(content)
    ended = acr(path, runs / "good")
    assert ended.exit_code == 1
    assert "Could not be read" in ended.stdout
    assert reason in re.sub(r"\s+", " ", ended.stdout)
    assert "Healthy" in ended.stdout


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("empty.jsonl", b"", "the file is empty"),
        ("blank.log", b"\n \n", "the file is empty"),
        ("model.bin", bytes(range(256)) * 8, "a binary file"),
        ("model.safetensors", bytes(range(256)) * 8, "model weights"),
        ("run.tfevents.1", b"\x18\0\0\0\0\0\0\0" * 9, "a TensorBoard event file"),
    ],
)
def test_what_lies_beside_a_log_is_a_failure_only_when_it_is_asked_for(runs, name, content, reason):
    path = runs / "good" / name
    path.write_bytes(content)
    inside = acr(runs / "good")
    assert inside.exit_code == 0
    assert "Could not be read" not in inside.stdout
    assert reason in inside.stdout
    asked_for = acr(path, runs / "good" / "trainer_state.json")
    assert asked_for.exit_code == 1
    assert reason in asked_for.stdout
    assert "Healthy" in asked_for.stdout


def test_many_files_left_out_for_one_reason_are_counted(runs):
    for number in range(20):
        (runs / f"config_{number:02}.json").write_text('{"model": "m"}')
    shown = acr(runs).stdout
    # 20 here and one in each of the two folders; five are named.
    assert "and 17 more" in shown
    assert shown.count("one JSON object without rows over steps") == 1
    assert len(json.loads(acr(runs, "--json").stdout)["files"]) == 24


def test_standard_input_is_read_like_a_file():
    text = "".join(json.dumps(row) + "\n" for row in rising())
    ended = acr("-", input=text)
    assert ended.exit_code == 0
    assert ended.stdout.startswith("standard input\n  Healthy: reward rose")
    nothing = acr("-", input="")
    assert nothing.exit_code == 1
    assert "the file is empty" in nothing.stdout


def test_a_page_never_replaces_a_log(runs):
    pytest.importorskip("matplotlib")
    log = runs / "good" / "trainer_state.json"
    before = log.read_bytes()
    # What a shell makes of `--html *.json`.
    ended = acr("--html", log, runs / "bad" / "trainer_state.json")
    assert ended.exit_code == 2
    assert log.read_bytes() == before
    target = runs / "report.html"
    assert acr(log, "--html", target).exit_code == 0
    assert acr(log, "--html", target).exit_code == 0


def test_lines_are_as_wide_as_the_terminal(runs, monkeypatch):
    monkeypatch.setenv("COLUMNS", "60")
    folder = str(runs)
    lines = [line for line in acr(runs).stdout.splitlines() if folder not in line]
    assert max(map(len, lines)) <= 60


def test_a_path_that_does_not_exist_is_one_failure(runs):
    assert "an empty path" in acr("").stdout
    ended = acr(runs / "nowhere", runs / "good")
    assert ended.exit_code == 1
    assert "no such file or folder" in ended.stdout
    assert acr(f"{runs}/*.nothing").exit_code == 1


def test_the_id_of_a_run_is_no_path_and_gets_a_hint():
    assert "hint: if demo-7 is a run of a monitor: acr show demo-7" in acr("demo-7").stderr
    assert "hint" not in acr("logs/demo-7").stderr


def test_a_log_of_another_kind_names_its_keys_and_the_ones_needed(tmp_path):
    path = jsonl(tmp_path / "sft.jsonl", [{"step": 1, "eval_loss": 1.0, "tokens": 5}])
    ended = acr(path)
    assert ended.exit_code == 1
    shown = re.sub(r"\s+", " ", ended.stdout)
    assert "keys found: tokens, eval_loss; needed: a step and a reward" in shown


def test_fail_on_makes_a_verdict_an_exit_status(runs):
    good, bad = runs / "good", runs / "bad"
    assert acr(bad).exit_code == 0
    assert acr(bad, "--fail-on", "critical").exit_code == 3
    assert acr(good, "--fail-on", "warning").exit_code == 0


@pytest.mark.parametrize(
    "options",
    [
        ("--format", "xml"),
        ("--fail-on", "info"),
        ("--reward-low", "0"),
        ("--reward-low", "1", "--reward-high", "0"),
        ("--group-size", "1"),
        (),
    ],
)
def test_wrong_usage_is_status_two(runs, options):
    paths = (runs,) if options else ()
    assert acr(*paths, *options).exit_code == 2


def test_json_holds_every_file_and_only_finite_numbers(runs):
    rows = rising(40)
    rows[10]["grad_norm"] = float("nan")
    jsonl(runs / "nan.jsonl", rows)
    (runs / "cut.jsonl").write_text('{"step": 1, "rew')
    ended = acr(runs, "--json")
    assert ended.exit_code == 1

    def refuse(text: str):
        raise AssertionError(text)

    document = json.loads(ended.stdout, parse_constant=refuse)
    assert document["version"] == 1
    files = {file["path"].removeprefix(f"{runs}/"): file for file in document["files"]}
    assert len(files) == 6
    assert files["cut.jsonl"]["status"] == "unreadable"
    assert files["good/config.json"]["status"] == "not_a_log"
    assert files["nan.jsonl"]["non_finite"] == [{"step": 11, "figures": ["grad_norm"]}]
    bad = files["bad/trainer_state.json"]
    assert bad["worst"] == "critical"
    assert bad["figures"]["reward_mean"]["last"] == 0.0
    assert bad["read"]["keys"]["kl"] == "kl"
    first = bad["verdicts"][0]
    assert {"rule", "severity", "since_step", "raised_step", "cause", "evidence", "advice"} <= set(
        first
    )


def test_files_of_one_step_each_are_one_log(tmp_path):
    rows = rollouts(12)
    for step in range(1, 13):
        part = [{**row} for row in rows if row["step"] == step]
        for row in part:
            del row["step"]
        jsonl(tmp_path / f"{step}.jsonl", part)
    ended = acr(tmp_path, "--json")
    (one,) = json.loads(ended.stdout)["files"]
    assert one["path"] == f"{tmp_path}/*.jsonl"
    assert (one["read"]["first_step"], one["read"]["last_step"]) == (1, 12)
    assert one["groups"]["count"] == 48


def test_runs_numbered_by_seed_stay_apart(tmp_path):
    for seed in (1, 2):
        csv(tmp_path / f"seed_{seed}.csv", rising(30))
    assert len(json.loads(acr(tmp_path, "--json").stdout)["files"]) == 2


def test_a_name_with_control_characters_does_not_reach_the_terminal(tmp_path):
    path = jsonl(tmp_path / "run\x1b[31m.jsonl", rising(30))
    ended = acr(path)
    assert ended.exit_code == 0
    assert "\x1b" not in ended.stdout


def test_brackets_in_names_are_no_markup(tmp_path):
    path = jsonl(tmp_path / "run[red]x[bold].jsonl", rising(30))
    assert "run[red]x[bold].jsonl" in acr(path).stdout


def test_text_for_a_terminal_without_unicode_is_ascii(tmp_path):
    path = jsonl(tmp_path / "run.jsonl", rising(30))
    program = (
        "import typer\nfrom monitor_service.diagnose.command import diagnose\ntyper.run(diagnose)\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", program, str(path)],
        env={**os.environ, "PYTHONIOENCODING": "ascii", "PYTHONPATH": os.getcwd()},
        capture_output=True,
        check=True,
    )
    assert b"Healthy" in ended.stdout
    assert ended.stdout.isascii()
