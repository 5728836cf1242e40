"""A strict fake of Grafana, a real monitor, and `acr grafana` between them."""

from collections.abc import Callable, Iterator

import pytest

from dashboards.command import TOKEN_VARIABLE, grafana
from monitor_service.client.api import MonitorApi
from tests.grafana.fake import TOKEN, FakeGrafana, fake_grafana
from tests.servers import AcrServe, acr_serve, short_folder
from tests.service.acr import Ended


@pytest.fixture(scope="session")
def served() -> Iterator[AcrServe]:
    with short_folder() as folder, acr_serve(folder) as server:
        yield server


@pytest.fixture
def monitor(served: AcrServe, monkeypatch: pytest.MonkeyPatch) -> Iterator[MonitorApi]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with MonitorApi(served.url) as opened:
        yield opened


@pytest.fixture
def fake() -> Iterator[FakeGrafana]:
    with fake_grafana() as server:
        yield server


@pytest.fixture
def environment(fake: FakeGrafana, served: AcrServe, monkeypatch: pytest.MonkeyPatch) -> None:
    """That of ana, who has both addresses and the token of an editor."""
    for name in (f"{TOKEN_VARIABLE}_FILE", "ACR_PUBLIC_URL", "ACR_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("ACR_GRAFANA_URL", fake.url)
    monkeypatch.setenv(TOKEN_VARIABLE, TOKEN)
    monkeypatch.setenv("ACR_MONITOR_URL", served.url)


@pytest.fixture
def acr_grafana(environment: None, capsys: pytest.CaptureFixture[str]) -> Callable[..., Ended]:
    """`acr grafana` with these arguments, in this process."""

    def run(*arguments: str) -> Ended:
        with pytest.raises(SystemExit) as ended:
            grafana()(arguments, prog_name="acr grafana")
        return Ended(int(ended.value.code or 0), *capsys.readouterr())

    return run
