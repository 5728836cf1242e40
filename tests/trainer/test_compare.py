"""`acr-train compare` on a model of 133k parameters: what runs, what runs again, what goes on."""

import json
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from tests.servers import api_server
from trainer import toy
from trainer.compare import cell, command, plan, results
from trainer.compare.plan import Cell

STEPS = 4


@pytest.fixture(scope="module")
def base(tmp_path_factory) -> dict[str, Any]:
    """An untrained model that answers with one symbol of 17, and sums below ten to guess."""
    folder = tmp_path_factory.mktemp("model")
    toy.make_model(seed=0).save_pretrained(folder)
    toy.make_tokenizer().save_pretrained(folder)
    rows = [{"prompt": f"{a}+{b}=", "answer": str(a + b)} for a in range(5) for b in range(5)]
    (folder / "sums.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return {
        "model_name_or_path": str(folder),
        "dataset_name": str(folder / "sums.jsonl"),
        "dataset_test_split": "train",
        "rewards": ["exact_match"],
        "max_steps": STEPS,
        "per_device_train_batch_size": 32,
        "num_generations": 8,
        "max_completion_length": 1,
        "learning_rate": 1e-3,
        "gradient_checkpointing": False,
        "use_cpu": True,
        "bf16": False,
        "logging_steps": 1,
        "dataloader_pin_memory": False,
    }


def written(folder: Path, base: dict[str, Any], **changes: Any) -> str:
    values = {
        "name": "trial",
        "base": base,
        "arms": {"grpo": {}, "constant": {"method": "constant"}},
        "baseline": "grpo",
        "seeds": [0, 1],
        "evaluate": {"samples": 4, "k": [1, 4], "problems": 20},
        **changes,
    }
    path = folder / "plan.yaml"
    path.write_text(yaml.safe_dump(values, sort_keys=False))
    return str(path)


def compared(*argv: str) -> int:
    try:
        command.main(argv)
    except SystemExit as ended:
        return int(ended.code or 0)
    return 0


def cells_in(folder: Path) -> dict[str, dict[str, Any]]:
    return {file.stem: json.loads(file.read_text()) for file in (folder / "cells").glob("*.json")}


def times(folder: Path) -> dict[str, int]:
    return {file.stem: file.stat().st_mtime_ns for file in (folder / "cells").glob("*.json")}


@pytest.fixture(scope="module")
def finished(base, tmp_path_factory) -> Path:
    """A folder with a plan and all of its results in `out`."""
    folder = tmp_path_factory.mktemp("finished")
    assert compared(written(folder, base), "--output", str(folder / "out")) == 0
    return folder


@pytest.fixture
def copied(finished, base, tmp_path) -> tuple[Path, dict[str, int]]:
    """The finished comparison, to go on with; and when its results were written."""
    subprocess.run(["cp", "-a", str(finished / "out"), str(tmp_path)], check=True)
    written(tmp_path, base)
    return tmp_path, times(tmp_path / "out")


def test_every_cell_has_a_result_of_every_step(finished):
    cells = cells_in(finished / "out")
    assert set(cells) == {"grpo-0", "grpo-1", "constant-0", "constant-1"}
    for found in cells.values():
        assert found["error"] is None
        assert {len(column) for column in found["series"].values()} == {STEPS}
        assert found["series"]["completions"] == [32] * STEPS
        assert all(value is not None for value in found["series"]["acr"])
        assert found["series"]["entropy"][0] is None
        assert found["series"]["entropy"][1] > 0
        assert len(found["after"]["greedy"]) == len(found["after"]["correct"]) == 20
        assert set(found["summary"]) >= {"accuracy_before", "accuracy_after", "pass@4_after"}
        assert found["versions"]["trl"].startswith("1.16")
    assert not (finished / "out" / "runs").exists()
    assert sum(cells["grpo-0"]["series"]["injected_groups"]) == 0
    injected = cells["constant-0"]["series"]
    assert sum(injected["injected_groups"]) > 0
    assert sum(injected["acr_effective"]) < sum(injected["acr"])


def test_the_arms_of_a_seed_start_see_and_answer_the_same(finished):
    cells = cells_in(finished / "out")
    for seed in "01":
        grpo, constant = cells[f"grpo-{seed}"], cells[f"constant-{seed}"]
        for same in ("weights_sha256", "data_sha256", "problems_sha256", "before"):
            assert grpo[same] == constant[same]
        # Until the first update the arms are one run: the same batch, sampled alike.
        assert grpo["series"]["reward"][0] == constant["series"]["reward"][0]
        assert grpo["settings_hash"] != constant["settings_hash"]
    assert cells["grpo-0"]["data_sha256"] != cells["grpo-1"]["data_sha256"]


def test_a_cell_stands_on_its_own(finished, tmp_path):
    """It was the third of its process; alone it comes to the same."""
    found = plan.load(finished / "plan.yaml")
    alone = cell.run(Cell(plan=found, arm="grpo", seed=1), tmp_path)
    before = results.read(finished / "out" / "cells" / "grpo-1.json")
    assert before is not None
    alone.series.seconds = before.series.seconds = []
    assert (alone.error, alone.series, alone.after) == (None, before.series, before.after)


def test_the_entropy_is_that_of_the_policy_along_its_answers(base, tmp_path):
    """An untrained model over 17 symbols is nearly uniform: ln 17 = 2.833 nats."""
    found = plan.load(Path(written(tmp_path, {**base, "max_steps": 1})))
    result = cell.run(Cell(plan=found, arm="grpo", seed=0), tmp_path)
    assert result.before is not None
    assert result.before.entropy is not None
    assert 2.6 < result.before.entropy < 2.834
    assert result.summary["entropy_before"] == result.before.entropy


def test_a_cell_can_be_repeated_by_the_file_beside_it(finished):
    values = yaml.safe_load((finished / "out" / "cells" / "constant-1.yaml").read_text())
    assert (values["method"], values["seed"], values["max_steps"]) == ("constant", 1, STEPS)


def test_what_is_finished_is_not_run_again(copied, capsys):
    folder, before = copied
    assert compared(str(folder / "plan.yaml"), "--output", str(folder / "out")) == 0
    assert times(folder / "out") == before
    assert "4 of 4 cells are finished" in capsys.readouterr().err


def test_changed_settings_run_again_and_only_those(copied, base):
    folder, before = copied
    arms = {"grpo": {}, "constant": {"method": "constant", "learning_rate": 2e-3}}
    path = written(folder, base, arms=arms)
    # Before they have run again, the results of other settings are not this plan's.
    assert compared(path, "--output", str(folder / "out"), "--report") == 0
    report = json.loads((folder / "out" / "report.json").read_text())
    assert report["num_finished"] == 2
    assert "2 cells have not run: constant-0, constant-1" in report["notes"]
    assert compared(path, "--output", str(folder / "out"), "--seeds", "0") == 0
    after = times(folder / "out")
    assert [name for name in after if after[name] != before[name]] == ["constant-0"]


def test_a_failing_arm_is_recorded_and_the_rest_goes_on(copied, base, capsys):
    folder, before = copied
    arms = {"grpo": {}, "broken": {"difficulty_levels": [3]}, "constant": {"method": "constant"}}
    path = written(folder, base, arms=arms)
    assert compared(path, "--output", str(folder / "out"), "--seeds", "0") == command.FAILED_CELLS
    found = cells_in(folder / "out")["broken-0"]
    assert "pass_rate" in found["error"]
    assert "Traceback" in found["traceback"]
    assert f"broken-0 failed: {found['error']}"[:60] in capsys.readouterr().out
    # Tried again the next time, unlike the others.
    assert compared(path, "--output", str(folder / "out"), "--seeds", "0") == command.FAILED_CELLS
    after = times(folder / "out")
    assert {name: at for name, at in after.items() if name != "broken-0"} == before


def test_the_report_is_rendered_again_without_running(copied, base, capsys):
    folder, before = copied
    for file in (folder / "out").glob("*.svg"):
        file.unlink()
    page = folder / "page.md"
    argv = [str(folder / "plan.yaml"), "--output", str(folder / "out"), "--report", "--json"]
    assert compared(*argv, "--markdown", str(page)) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["num_finished"] == 4
    assert {one["arm"] for one in shown["comparisons"]} == {"constant"}
    assert page.read_text().startswith("## trial\n")
    assert (folder / "out" / "curves.svg").exists()
    assert times(folder / "out") == before


@pytest.mark.integration
def test_a_monitor_gets_every_cell_as_a_run_and_changes_no_figure(
    finished, base, tmp_path, redis_url, monkeypatch
):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    path = written(tmp_path, base)
    with api_server(redis_url) as url:
        argv = [path, "--output", str(tmp_path / "out"), "--seeds", "0", "--monitor-url", url]
        assert compared(*argv) == 0
        for arm in ("grpo", "constant"):
            run = httpx.get(f"{url}/v1/runs/trial-{arm}-0").raise_for_status().json()
            assert run["step"] == STEPS
    series = cells_in(tmp_path / "out")["constant-0"]["series"]
    near = cells_in(finished / "out")["constant-0"]["series"]
    assert {**series, "seconds": []} == {**near, "seconds": []}


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["/nowhere/plan.yaml"], "No such file or directory: '/nowhere/plan.yaml'"),
        (["PLAN", "--report", "--output", "EMPTY"], "a folder with results of this plan"),
        (["PLAN", "--seeds", "7"], "seeds of the plan: 0, 1; got [7]"),
    ],
)
def test_a_mistake_ends_with_one_line(finished, tmp_path, capsys, monkeypatch, argv, words):
    monkeypatch.chdir(tmp_path)
    places = {"PLAN": str(finished / "plan.yaml"), "EMPTY": str(tmp_path / "empty")}
    assert compared(*(places.get(word, word) for word in argv)) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("acr-train compare: ")
    assert err.count("\n") == 1
    assert words in err


@pytest.mark.e2e
def test_a_worker_that_dies_costs_its_cell_only(base, tmp_path):
    killed: list[int] = []

    def kill_one() -> None:
        while not killed:
            for process in multiprocessing.active_children():
                if process.name == "constant-0" and process.pid:
                    os.kill(process.pid, signal.SIGKILL)
                    killed.append(process.pid)
                    return
            time.sleep(0.01)

    thread = threading.Thread(target=kill_one)
    thread.start()
    path = written(tmp_path, base)
    argv = [path, "--output", str(tmp_path / "out"), "--seeds", "0", "--jobs", "2"]
    assert compared(*argv) == command.FAILED_CELLS
    thread.join()
    found = cells_in(tmp_path / "out")
    assert found["constant-0"]["error"] == "its process ended with status -9"
    assert found["grpo-0"]["error"] is None


@pytest.fixture
def toy_base() -> dict[str, Any]:
    values = {**toy.GRPO_DEFAULTS, "model_name_or_path": "toy", "rewards": ["exact_match"]}
    return {**values, "max_steps": 3, "logging_steps": 1, "dataloader_pin_memory": False}


@pytest.mark.e2e
@pytest.mark.parametrize(
    ("model", "jobs", "number", "status"),
    [("toy_base", "1", signal.SIGINT, 130), ("base", "2", signal.SIGKILL, -9)],
)
def test_an_interrupted_comparison_goes_on(tmp_path, request, model, jobs, number, status):
    path = written(tmp_path, request.getfixturevalue(model), name="interrupted")
    out = tmp_path / "out"
    argv = [path, "--output", str(out)]
    program = [sys.executable, "-m", "trainer.train", "compare", *argv, "--jobs", jobs]
    with subprocess.Popen(
        program, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as running:
        while not list(out.glob("cells/*.json")):
            assert running.poll() is None
            time.sleep(0.05)
        os.killpg(running.pid, number)  # As Ctrl-C in a terminal reaches all of them.
        _, err = running.communicate(timeout=120)
    assert running.returncode == status, err
    before = times(out)
    assert 0 < len(before) < 4
    if status == command.INTERRUPTED:
        assert err.splitlines()[-1].startswith("acr-train compare: interrupted; finished cells")
    assert compared(*argv) == 0
    after = times(out)
    assert set(after) == {"grpo-0", "grpo-1", "constant-0", "constant-1"}
    assert {name: after[name] for name in before} == before
