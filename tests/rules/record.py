"""`python -m tests.rules.record`: writes healthy.yml, a run that learns, as Prometheus reads it.

The toy trains on `mixed`, reporting to a monitor that is scraped as often as `deploy/` says, and
ends. What the rules read is kept, sample by sample, with the clock set to 0 at the first scrape;
for the day that follows everything stays as it was, as on a monitor to which nobody reports.
"""

import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import httpx
import yaml
from prometheus_client.parser import text_string_to_metric_families

from tests.rules.rules import DEPLOYED, METRICS, ROOT
from tests.servers import AcrServe, acr_serve

TARGET = Path(__file__).with_name("healthy.yml")
RUN = "learns"
INTERVAL_S = 5
"""`scrape_interval` of deploy/prometheus/prometheus.yml."""
IDLE_S = 86_400
"""For so long an ended run stays on /metrics."""
NUM_STEPS = 300
OPTIONS = {
    "model_name_or_path": "toy:mixed",
    "run_id": RUN,
    "use_avspo": "true",
    "avspo_profile": "observe",
    "max_steps": str(NUM_STEPS),
}
TARGET_LABELS = 'instance="monitor:8400",job="acr-monitor"'
_CLOCK = "acr_last_report_timestamp_seconds"

Scrape = dict[str, float]
"""Series, as it is written -> its value."""


def main() -> None:
    """Train, scrape, write."""
    assert f"scrape_interval: {INTERVAL_S}s" in (DEPLOYED / "prometheus.yml").read_text()
    with tempfile.TemporaryDirectory() as name, acr_serve(Path(name)) as monitor:
        scrapes = list(_scrapes(monitor, Path(name)))
    num_idle = IDLE_S // INTERVAL_S
    document = {
        "rule_files": ["../../deploy/prometheus/rules/acr.yml"],
        "evaluation_interval": "15s",
        "tests": [
            {
                "name": f"{NUM_STEPS} steps of toy:mixed, and a day",
                "interval": f"{INTERVAL_S}s",
                "input_series": [
                    {"series": series, "values": _values(series, scrapes, num_idle)}
                    for series in sorted({series for scrape in scrapes for series in scrape})
                ],
                "promql_expr_test": [
                    {
                        "expr": "count_over_time(ALERTS[2d])",
                        "eval_time": f"{(len(scrapes) + num_idle) * INTERVAL_S}s",
                        "exp_samples": [],
                    }
                ],
            }
        ],
    }
    text = yaml.safe_dump(document, sort_keys=False, width=100)
    TARGET.write_text(f"# Written by `python -m tests.rules.record`.\n{text}", encoding="utf-8")


def _scrapes(monitor: AcrServe, folder: Path) -> Iterator[Scrape]:
    """Of the whole training, from the first report to the first scrape after its end."""
    given = OPTIONS | {"monitor_url": monitor.url, "output_dir": str(folder / "out")}
    options = [part for name, value in given.items() for part in (f"--{name}", value)]
    command = [sys.executable, "-m", "trainer.train", str(ROOT / "examples" / "toy.yaml"), *options]
    with subprocess.Popen(command) as trainer:
        begun_s = None
        while True:
            has_ended = trainer.poll() is not None
            scraped_at_s = time.time()
            text = httpx.get(f"{monitor.url}/metrics", trust_env=False).raise_for_status().text
            if _CLOCK + "{" in text:
                begun_s = begun_s or scraped_at_s
                yield _read(text, begun_s)
            if has_ended:
                break
            time.sleep(max(0.0, scraped_at_s + INTERVAL_S - time.time()))
    assert trainer.returncode == 0


def _read(text: str, begun_s: float) -> Scrape:
    found = {f"up{{{TARGET_LABELS}}}": 1.0}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if sample.name in METRICS:
                labels = [f'{name}="{value}"' for name, value in sorted(sample.labels.items())]
                series = f"{sample.name}{{{','.join([TARGET_LABELS, *labels])}}}"
                is_clock = sample.name == _CLOCK
                found[series] = round(sample.value - begun_s if is_clock else sample.value, 4)
    return found


def _values(series: str, scrapes: Sequence[Scrape], num_idle: int) -> str:
    """In promtool's notation; a series that is gone is stale at once, as after a scrape."""
    values, is_there = [], False
    for scrape in scrapes:
        was_there, is_there = is_there, series in scrape
        values.append(f"{scrape[series]:g}" if is_there else "stale" if was_there else "_")
    return " ".join([*values[:-1], f"{values[-1]}+0x{num_idle}"] if is_there else values)


if __name__ == "__main__":
    main()
