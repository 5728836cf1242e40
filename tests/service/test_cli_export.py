"""`acr export` and `acr import`: files that are whole, and words when they cannot be."""

import csv
import io
import sys
from pathlib import Path

import msgspec
import pyarrow.parquet as parquet  # type: ignore[import-untyped]
import pytest

from monitor_service.series import COLUMNS
from tests.service.reports import body, new_run_id


@pytest.fixture
def run_id(client, run_id):
    """A run of three steps; the second has no entropy."""
    scalars = [{"entropy": 1.5}, {}, {"entropy": 0.5}]
    reports = [body(step, scalars=own) for step, own in enumerate(scalars, start=1)]
    assert client.post(f"/v1/runs/{run_id}/steps", json=reports).is_success
    return run_id


def test_a_run_goes_out_and_comes_in_under_another_name(acr, client, run_id, tmp_path):
    file, name = tmp_path / "run.jsonl", new_run_id()
    ended = acr("export", run_id, "--output", str(file))
    assert (ended.status, ended.out) == (0, f"{file}: {file.stat().st_size} bytes\n")
    assert file.stat().st_mode & 0o777 == 0o644
    ended = acr("import", str(file), "--as", name)
    assert (ended.status, ended.out) == (0, f"{name}: step 3, attempt 1, ended: imported\n")
    assert (
        client.get(f"/v1/runs/{name}/steps").json() == client.get(f"/v1/runs/{run_id}/steps").json()
    )


def test_without_a_name_it_is_called_as_in_the_file(acr, run_id, tmp_path):
    file = tmp_path / "run.jsonl"
    acr("export", run_id, "-o", str(file))
    ended = acr("import", str(file), "--json")
    assert msgspec.json.decode(ended.out)["id"] == run_id


def test_a_run_is_written_to_standard_output(acr, run_id):
    first, *_, last = acr("export", run_id).out.splitlines()
    assert msgspec.json.decode(first)["id"] == run_id
    assert msgspec.json.decode(last)["kind"] == "end"


def test_a_file_comes_from_standard_input(acr, run_id, monkeypatch):
    content, name = acr("export", run_id).out.encode(), new_run_id()
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))
    assert acr("import", "-", "--as", name).status == 0


def test_the_name_of_the_file_says_how_it_is_written(acr, run_id, tmp_path):
    for suffix, start in ((".csv", b"step,"), (".parquet", b"PAR1"), (".jsonl", b'{"kind":"run"')):
        file = tmp_path / f"run{suffix}"
        assert acr("export", run_id, "-o", str(file)).status == 0
        assert file.read_bytes().startswith(start)


def test_a_table_of_some_figures(acr, run_id, tmp_path):
    file = tmp_path / "run.txt"
    acr("export", run_id, "--format", "csv", "--fields", "acr, entropy", "-o", str(file))
    assert file.read_bytes() == b"step,acr,entropy\r\n1,0.5,1.5\r\n2,0.5,\r\n3,0.5,0.5\r\n"


def test_a_table_has_all_figures_by_default(acr, run_id):
    header, *rows = csv.reader(acr("export", run_id, "--format", "csv").out.splitlines())
    assert (header, len(rows)) == (list(COLUMNS), 3)


def test_parquet_has_whole_numbers_and_nothing_where_a_figure_is_absent(acr, run_id, tmp_path):
    file = tmp_path / "run.parquet"
    acr("export", run_id, "--fields", "mixed,entropy", "-o", str(file))
    table = parquet.read_table(file)
    assert table.to_pydict() == {
        "step": [1, 2, 3],
        "mixed": [2, 2, 2],
        "entropy": [1.5, None, 0.5],
    }
    assert [str(field.type) for field in table.schema] == ["int64", "int64", "double"]
    assert table.schema.metadata == {b"acr.run": run_id.encode()}


def test_parquet_without_pyarrow_says_what_to_install(acr, run_id, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    ended = acr("export", run_id, "-o", str(tmp_path / "run.parquet"))
    assert (ended.status, list(tmp_path.iterdir())) == (1, [])
    assert "pip install 'acr-monitor[diagnose]'" in ended.err


def test_parquet_is_not_written_to_a_terminal(acr, run_id):
    ended = acr("export", run_id, "--format", "parquet")
    assert ended.status == 2
    assert "--output" in ended.err


@pytest.mark.parametrize("options", [[], ["--format", "csv"], ["--format", "parquet"]])
def test_an_export_that_fails_leaves_the_file_of_before(acr, tmp_path, options):
    file = tmp_path / "run"
    file.write_text("before")
    ended = acr("export", new_run_id(), "-o", str(file), *options)
    assert ended.status == 1
    assert "no run" in ended.err
    assert (file.read_text(), list(tmp_path.iterdir())) == ("before", [file])


def test_an_unknown_figure_is_refused_and_nothing_is_written(acr, run_id, tmp_path):
    ended = acr("export", run_id, "--fields", "acrr", "-o", str(tmp_path / "run.csv"))
    assert (ended.status, list(tmp_path.iterdir())) == (1, [])
    assert "must be of step, attempt" in ended.err


def test_a_folder_that_is_not_there_is_named(acr, run_id, tmp_path):
    file = tmp_path / "nowhere" / "run.jsonl"
    ended = acr("export", run_id, "-o", str(file))
    assert (ended.status, ended.err.strip()) == (1, f"acr: {file}: No such file or directory")


def test_a_file_that_is_not_there_is_named(acr, tmp_path):
    ended = acr("import", str(tmp_path / "none.jsonl"))
    assert (ended.status, "none.jsonl: No such file or directory" in ended.err) == (1, True)


@pytest.mark.parametrize("content", ["", "step,acr\n1,0.5\n", '{"id": "-"}\n', "[]"])
def test_what_is_no_export_is_named_before_it_is_sent(acr, tmp_path, content):
    file = tmp_path / "table.csv"
    file.write_text(content)
    ended = acr("import", str(file))
    assert ended.status == 1
    assert "table.csv: not what `acr export --format jsonl` writes" in ended.err


def test_what_the_monitor_finds_wrong_is_told_with_its_line(acr, run_id, tmp_path):
    file = tmp_path / "run.jsonl"
    acr("export", run_id, "-o", str(file))
    whole = file.read_text()
    file.write_text(whole[: whole.rindex('{"kind":"end"')])
    ended = acr("import", str(file), "--as", new_run_id())
    assert ended.status == 1
    assert "the file breaks off before its line of kind end" in ended.err


def test_the_relative_name_of_a_file_is_enough(acr, run_id, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert acr("export", run_id, "-o", "run.csv").status == 0
    assert [file.name for file in Path().iterdir()] == ["run.csv"]
