"""Whatever a file holds, the outcome is a diagnosis or one of our two errors."""

import contextlib
import json
import math
import tempfile
from pathlib import Path

from hypothesis import example, given, settings
from hypothesis import strategies as st

from monitor_service.diagnose import machine, recognise, report, text
from monitor_service.diagnose.intake import Keys
from monitor_service.diagnose.replay import replay
from monitor_service.diagnose.sources import NotALog, Source, Unreadable

FORMATS = [None, *(name for name in recognise.READERS if name != "parquet")]

KEYS = ["step", "reward", "rewards", "reward_std", "frac_reward_zero_std", "kl", "entropy"]
KEYS += ["grad_norm", "loss", "prompt_id", "num_groups", "solve_all", "solve_none", "type", "x"]
VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=8),
    st.sampled_from(["eval", "nan", "1e400", "50%", "[1, 0]", "[]"]),
    st.lists(st.floats(), max_size=3),
)
ROWS = st.lists(st.dictionaries(st.sampled_from(KEYS), VALUES, max_size=8), max_size=12)
SNIPPETS = st.sampled_from(
    [
        *('{"step": 1, "reward": 0.5}', "{'reward': 0.5, 'kl': nan}", "step:1 - reward:0.5 - kl:0"),
        *("step,reward\n1,0.5\n", '[{"step": 1', "\x1b[31m", "\r 10%|# | 1/10 [", "NaN", "<table>"),
        *(
            "<tr><td>1",
            "</tr>",
            "| step | reward |\n|---|---|\n| 1 | 2 |",
            "## Step 3",
            "\n",
            "[",
            "}",
        ),
        *(
            "**Rewards:** total=1",
            "**Prompt:** p",
            '{"log_history": [',
            "1/3 | reward=0.5",
            ",",
            "\t",
        ),
    ]
)
FILES = st.one_of(
    st.binary(max_size=400),
    st.text(max_size=200).map(lambda drawn: drawn.encode(errors="replace")),
    st.lists(SNIPPETS, max_size=12).map(lambda parts: "".join(parts).encode()),
    ROWS.map(lambda rows: "\n".join(json.dumps(row) for row in rows).encode()),
    ROWS.map(lambda rows: json.dumps(rows).encode()),
    ROWS.map(lambda rows: json.dumps({"log_history": rows}).encode()[:-3]),
)


@settings(deadline=None, max_examples=300)
@example(content=b'{" ":[],"":[]}', format=None, group_size=None)
@example(content=b'{"step":1,"solve_all":1,"solve_none":1}', format=None, group_size=None)
@given(content=FILES, format=st.sampled_from(FORMATS), group_size=st.sampled_from([None, 2]))
def test_any_bytes_in_any_format_are_judged_or_refused(content, format, group_size):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "log"
        path.write_bytes(content)
        with contextlib.suppress(Unreadable, NotALog):
            log = recognise.read(
                Source(str(path), (path,)),
                format=format,
                keys=Keys(group_size=group_size),
                opener=lambda one: one.open("rb"),
            )
            one = report.diagnosis(log, replay(log, None))
            assert one.headline
            assert text.of(one).plain
            json.dumps(machine.document([one], []), allow_nan=False)


@given(column=st.dictionaries(st.integers(0, 50), st.floats(allow_nan=False, allow_infinity=False)))
def test_a_sparkline_has_a_mark_for_every_bucket(column):
    line = text.sparkline(column).removesuffix(" log")
    assert len(line) == min(len(column), text.SPARK_WIDTH)
    assert len(set(line)) <= 8


@given(values=st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1))
def test_the_range_of_a_figure_holds_all_of_it(values):
    found = report.range_of(dict(enumerate(values)))
    assert found.low == min(values)
    assert found.high == max(values)
    assert math.isfinite(found.first)
