"""What the compose file gives Grafana: both dashboards, the data source they ask, and a home."""

from pathlib import Path, PurePosixPath
from typing import Any

import yaml

from dashboards import build

ROOT = Path(__file__).parents[2]
PROVISIONING = ROOT / "deploy" / "grafana" / "provisioning"


def read(path: Path) -> Any:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


GRAFANA = read(ROOT / "docker-compose.yml")["services"]["grafana"]


def mounted() -> dict[Path, PurePosixPath]:
    """Where in the container a folder of the repository is."""
    folders = (one.split(":") for one in GRAFANA["volumes"] if one.startswith("."))
    return {(ROOT / ours).resolve(): PurePosixPath(theirs) for ours, theirs, *_ in folders}


def test_both_dashboards_lie_where_the_provider_looks():
    (provider,) = read(PROVISIONING / "dashboards" / "acr.yml")["providers"]
    assert mounted()[build.JSON_DIR] == PurePosixPath(provider["options"]["path"])
    assert mounted()[PROVISIONING] == PurePosixPath("/etc/grafana/provisioning")
    assert provider["allowUiUpdates"] is False
    names = {path.name for path in build.JSON_DIR.iterdir()}
    assert names == {"acr-overview.json", "acr-run.json"}


def test_grafana_opens_on_the_overview():
    home = GRAFANA["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    assert PurePosixPath(home) == mounted()[build.JSON_DIR] / "acr-overview.json"


def test_the_data_source_scrapes_as_often_as_the_rates_assume():
    (source,) = read(PROVISIONING / "datasources" / "prometheus.yml")["datasources"]
    scraped = read(ROOT / "deploy" / "prometheus" / "prometheus.yml")["global"]["scrape_interval"]
    assert source["type"] == "prometheus"
    assert source["jsonData"]["timeInterval"] == scraped == "5s"
