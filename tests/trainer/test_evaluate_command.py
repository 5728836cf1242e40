"""`acr-train evaluate`, in this process and as a program; real models, a real monitor."""

import json
import os
import socket
import subprocess
import sys

import datasets
import httpx
import pytest

from tests.servers import api_server
from trainer import toy
from trainer.evaluate import command, models
from trainer.evaluate.arguments import USAGE
from trainer.evaluate.results import read

RUN_ID = "evaluated"


@pytest.fixture(autouse=True)
def _private(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.delenv("ACR_MONITOR_URL", raising=False)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A folder with a toy that knows some of it."""
    folder = tmp_path_factory.mktemp("model")
    network, tokenizer = toy.make_model(), toy.make_tokenizer()
    problems = toy.make_splits(seed=42)[1].select(range(100))
    toy.warm_start(network, tokenizer, problems, num_steps=100, batch_size=16)
    network.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)


@pytest.fixture
def evaluate(model, tmp_path, capsys):
    """The program with a toy, 4 samples and these arguments: status, output, errors."""

    def run(*arguments, **options):
        settings = {
            "model": model,
            "benchmarks": "toy",
            "max_new_tokens": 4,
            "max_problems": 100,
            "output": str(tmp_path / "results.json"),
            "device": "cpu",
            **options,
        }
        flags = [part for name, value in settings.items() for part in (f"--{name}", str(value))]
        status = 0
        try:
            command.main([*arguments, *flags])
        except SystemExit as ended:
            status = int(ended.code or 0)
        return status, *capsys.readouterr()

    return run


SAMPLED = {"num_samples": 4, "temperature": 1.0, "k": "1,2,4", "batch_size": 200}


def test_a_table_and_a_file_say_the_same(evaluate, tmp_path, model):
    status, out, _ = evaluate(**SAMPLED)
    assert status == 0
    [entry] = json.loads((tmp_path / "results.json").read_text())["results"]
    assert (entry["benchmark"], entry["num_problems"], entry["num_samples"]) == (
        "toy:addition",
        100,
        4,
    )
    for k in "124":
        estimate = entry["pass_at"][k]
        assert f"{estimate['value']:.3f}" in out
        assert f"{estimate['low']:.3f}-{estimate['high']:.3f}" in out
    assert entry["accuracy"] == pytest.approx(sum(entry["num_correct"]) / 400)
    assert len(entry["num_truncated"]) == len(entry["num_tokens"]) == 100
    assert entry["settings"]["model"]["name"] == model
    assert entry["settings"]["temperature"] == 1.0
    assert {"torch", "transformers", "acr-monitor", "device"} <= set(entry["run_with"])
    assert entry["seconds"] > 0


def test_what_was_finished_is_not_generated_again(evaluate, monkeypatch, caplog):
    _, first, _ = evaluate("--json", **SAMPLED)

    def fail(*_, **__):
        raise AssertionError("the model was loaded")

    with monkeypatch.context() as patched, caplog.at_level("INFO"):
        patched.setattr(models, "load", fail)
        status, again, _ = evaluate("--json", **SAMPLED)
    assert (status, again) == (0, first)
    assert "has the same settings" in caplog.text


def test_another_k_needs_no_new_completions_and_another_setting_does(evaluate, tmp_path):
    evaluate(**{**SAMPLED, "k": "4"})
    [one] = read(tmp_path / "results.json")
    evaluate(**{**SAMPLED, "k": "1,2"})
    [both] = read(tmp_path / "results.json")
    assert both.finished_at_s == one.finished_at_s
    assert set(both.pass_at) == {"1", "2", "4"}
    evaluate(**{**SAMPLED, "temperature": 0.5})
    assert [entry.settings["temperature"] for entry in read(tmp_path / "results.json")] == [
        1.0,
        0.5,
    ]


def test_a_benchmark_that_fails_does_not_cost_the_finished_ones(evaluate, tmp_path):
    broken = tmp_path / "unreadable.jsonl"
    broken.write_text(json.dumps({"prompt": "1+1=", "answer": None}) + "\n")
    status, _, err = evaluate(benchmarks=f"toy,{broken}", prompt_template="plain")
    assert status == 1
    assert "answer: must be readable in at least one problem" in err
    assert [entry.benchmark for entry in read(tmp_path / "results.json")] == ["toy:addition"]


def test_a_file_of_ones_own_and_a_configuration_file(evaluate, tmp_path):
    rows = [{"q": f"{a}+1=", "a": f"so #### {a + 1}"} for a in range(30)]
    (tmp_path / "sums.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    config = tmp_path / "evaluate.yaml"
    config.write_text(
        "k: [1, 2]\nnum_samples: 2\ntemperature: 1.0\nprompt_column: q\nanswer_column: a\n"
        "answer_marker: '####'\nprompt_template: plain\nreward: exact_match\n"
    )
    status, out, _ = evaluate(
        str(config), "--json", benchmarks=str(tmp_path / "sums.jsonl"), temperature=0.7
    )
    assert status == 0
    [entry] = json.loads(out)
    assert (entry["benchmark"], entry["num_problems"], entry["num_samples"]) == ("sums", 30, 2)
    # The command line wins.
    assert entry["settings"]["temperature"] == 0.7
    assert entry["settings"]["source"]["answer_marker"] == "####"
    assert set(entry["pass_at"]) == {"1", "2"}


def test_unscored_problems_are_told(evaluate, tmp_path):
    rows = [{"prompt": "1+1=", "answer": "2"}, {"prompt": "2+2=", "answer": None}]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    _, out, _ = evaluate(benchmarks=str(tmp_path / "rows.jsonl"), prompt_template="plain")
    assert "rows: 1 of 2 gold answers are missing or cannot be read" in out


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({**SAMPLED, "k": "8"}, "k: must be in [1, num_samples], which is 4; got 8"),
        ({**SAMPLED, "k": "one"}, "k: must be whole numbers, separated by commas; got 'one'"),
        ({"benchmarks": "math500"}, "did you mean math-500?"),
        ({"benchmarks": ""}, "benchmarks: must be some of math-500"),
        ({"benchmarks": "toy,toy"}, "benchmarks: must name each once"),
        ({"model": "/nowhere/model"}, "model: no such folder; got '/nowhere/model'"),
        ({"model": ""}, "model: must be a folder"),
        ({"prompt_format": "chat"}, "has no chat template"),
        ({"prompt_format": "alpaca"}, "prompt_format: must be one of auto, chat, raw"),
        ({"num_samples": 4}, "num_samples: must be 1 without a temperature"),
        ({"temperature": 0}, "temperature: must be above 0"),
        ({"temperature": "warm"}, "invalid float value: 'warm'"),
        ({"max_new_tokens": 0}, "max_new_tokens: must be in [1, "),
        ({"max_new_tokens": 60}, "max_new_tokens: must be at most 58: a context of 64 less 6"),
        ({"max_problems": 0}, "max_problems: must be at least 1"),
        ({"confidence": 95}, "confidence: must be in (0, 1)"),
        ({"backend": "sglang"}, "backend: must be one of transformers, vllm"),
        ({"backend": "vllm"}, "backend: needs vLLM, which is not installed"),
        ({"reward": "length"}, "reward: must be one of box_accuracy, exact_match"),
        ({"batch_size": 0}, "batch_size: must be at least 1"),
        ({"prompt_template": "Solve.", "benchmarks": "gsm8k=x.jsonl"}, "prompt_template 'Solve.'"),
        ({"monitor_url": "http://127.0.0.1:1"}, "run_id: must be given with monitor_url"),
        ({"run_id": "run-1"}, "monitor_url: must be given with run_id"),
        ({"temprature": 1}, "--temprature"),
    ],
)
def test_a_mistake_ends_with_one_line_that_names_it(evaluate, options, words, tmp_path):
    status, out, err = evaluate(**options)
    assert (status, out) == (1, "")
    lines = [line for line in err.splitlines() if line.startswith("acr-train evaluate: ")]
    assert len(lines) == 1
    assert words in lines[0]
    assert not (tmp_path / "results.json").exists()


@pytest.mark.parametrize(
    "content", ["{", "[1]", '{"results": [{"benchmark": 1}]}', '{"format": 9}']
)
def test_a_results_file_that_cannot_be_read_is_left_alone(evaluate, tmp_path, content):
    (tmp_path / "results.json").write_text(content)
    status, _, err = evaluate()
    assert status == 1
    assert "output: " in err
    assert (tmp_path / "results.json").read_text() == content


def test_an_unknown_key_in_the_file_is_named(evaluate, tmp_path):
    (tmp_path / "c.yaml").write_text("num_sample: 4\n")
    _, _, err = evaluate(str(tmp_path / "c.yaml"))
    assert "unknown keys in" in err
    assert "num_sample" in err


def test_help_lists_every_key(capsys):
    command.main(["--help"])
    out = capsys.readouterr().out
    assert out.startswith(USAGE)
    assert "\n  --num_samples\n" in out
    with pytest.raises(SystemExit):
        command.main([])
    assert capsys.readouterr().err == f"{USAGE}\n"


@pytest.fixture
def run_url(redis_url, monkeypatch):
    """A run in a real monitor."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with api_server(redis_url) as url:
        assert httpx.post(f"{url}/v1/runs", json={"id": RUN_ID}).status_code in {200, 201}
        yield f"{url}/v1/runs/{RUN_ID}"


def test_the_accuracy_becomes_the_result_of_the_run(evaluate, run_url, tmp_path, monkeypatch):
    url = run_url.partition("/v1")[0]
    assert evaluate(monitor_url=url, run_id=RUN_ID)[0] == 0
    [entry] = read(tmp_path / "results.json")
    kept = httpx.get(f"{run_url}/forecast").json()["result"]
    assert kept["accuracy"] == pytest.approx(entry.accuracy)
    assert kept["benchmark"] == "toy:addition, greedy"
    # The address may come from the environment, as for training.
    monkeypatch.setenv("ACR_MONITOR_URL", url)
    assert evaluate(run_id=RUN_ID, **SAMPLED)[0] == 0
    kept = httpx.get(f"{run_url}/forecast").json()["result"]
    assert kept["benchmark"] == "toy:addition, temperature 1"


def warnings(caplog):
    return [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]


def test_a_monitor_that_does_not_answer_costs_one_warning(evaluate, caplog, tmp_path):
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        url = f"http://me:secret@127.0.0.1:{nobody.getsockname()[1]}"
        status, out, _ = evaluate("--json", monitor_url=url, run_id="run-1")
    assert (status, len(json.loads(out))) == (0, 1)
    [warning] = warnings(caplog)
    assert "did not take the result of run run-1" in warning
    assert "secret" not in warning
    assert len(read(tmp_path / "results.json")) == 1


def test_a_run_that_the_monitor_does_not_know_costs_one_warning(evaluate, run_url, caplog):
    url = run_url.partition("/v1")[0]
    assert evaluate(monitor_url=url, run_id="another-run")[0] == 0
    [warning] = warnings(caplog)
    assert "no run 'another-run'" in warning


def test_a_place_that_cannot_be_written_to_is_told_before_anything_is_generated(
    evaluate, tmp_path, monkeypatch
):
    (tmp_path / "file").touch()
    monkeypatch.setattr(models, "load", None)
    status, _, err = evaluate(output=str(tmp_path / "file" / "results.json"))
    assert status == 1
    assert str(tmp_path / "file") in err


@pytest.mark.e2e
def test_acr_train_dispatches_to_it_and_prints_nothing_but_the_json(model, tmp_path):
    environ = {name: value for name, value in os.environ.items() if not name.startswith("ACR_")}
    done = subprocess.run(
        [
            *(sys.executable, "-m", "trainer.train", "evaluate", "--model", model, "--json"),
            *("--benchmarks", "toy", "--max_new_tokens", "4", "--batch_size", "500"),
        ],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        env=environ,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    [entry] = json.loads(done.stdout)
    assert entry["num_problems"] == 1000
    [kept] = read(tmp_path / "evaluation.json")
    assert kept.accuracy == entry["accuracy"]
