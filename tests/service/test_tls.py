"""HTTPS by the monitor itself, and by a proxy that it trusts."""

import ssl
import subprocess
from pathlib import Path

import httpx
import pytest

from monitor_service.config import ServiceConfig
from monitor_service.errors import StartupError
from monitor_service.ready import is_ready
from monitor_service.server import http_server
from tests.servers import acr_serve
from tests.service.guarded import guarded, issued, with_token

PASSWORD = "correct-horse"


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of 127.0.0.1; beside it its key, open (`acr.key`) and encrypted (`locked.key`)."""
    folder = tmp_path_factory.mktemp("tls")
    make = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -days 1 -nodes"
    make += " -subj /CN=acr -addext subjectAltName=IP:127.0.0.1 -keyout acr.key -out acr.pem"
    lock = f"openssl ec -aes256 -in acr.key -out locked.key -passout pass:{PASSWORD}"
    for command in (make, lock):
        subprocess.run(command.split(), cwd=folder, check=True, capture_output=True)
    (folder / "password").write_text(f"{PASSWORD}\n")
    return folder / "acr.pem"


@pytest.fixture
def trusting(certificate: Path) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(certificate))


@pytest.mark.parametrize("kind", ["open", "locked"])
def test_with_a_certificate_it_speaks_https_and_says_that_it_stays_so(
    redis_url, certificate, trusting, kind
):
    folder = certificate.parent
    key = {"tls_key": folder / "acr.key"}
    if kind == "locked":
        key = {"tls_key": folder / "locked.key", "tls_key_password_file": folder / "password"}
    with guarded(redis_url, tls_cert=certificate, **key) as url:
        assert url.startswith("https://")
        reply = httpx.get(f"{url}/v1/runs", verify=trusting)
        assert reply.status_code == 200
        assert reply.headers["strict-transport-security"] == "max-age=31536000"
        with pytest.raises(httpx.RemoteProtocolError):
            httpx.get(url.replace("https", "http"))


def test_the_probe_of_a_container_needs_neither_token_nor_certificate(
    redis_url, certificate, monkeypatch
):
    url = f"{redis_url}?db=11"
    issued(url)
    key = certificate.parent / "acr.key"
    with guarded(url, tls_cert=certificate, tls_key=key) as base_url:
        port = int(base_url.rpartition(":")[2])
        assert is_ready(port, over_tls=True)
        assert not is_ready(port)


def test_serve_prints_and_writes_the_address_with_its_scheme(
    folder, certificate, trusting, monkeypatch
):
    monkeypatch.setenv("ACR_TLS_CERT", str(certificate))
    monkeypatch.setenv("ACR_TLS_KEY", str(certificate.parent / "acr.key"))
    with acr_serve(folder) as server:
        assert server.url.startswith("https://127.0.0.1:")
        assert httpx.get(f"{server.url}/readyz", verify=trusting).status_code == 200


@pytest.mark.parametrize(
    ("files", "named"),
    [
        ({"tls_cert": "missing.pem"}, "missing.pem"),
        ({"tls_cert": "acr.key", "tls_key": "acr.key"}, "acr.key"),
        ({"tls_cert": "acr.pem", "tls_key": "missing.key"}, "acr.pem"),
        (
            {"tls_cert": "acr.pem", "tls_key": "locked.key", "tls_key_password_file": "acr.pem"},
            "acr.pem",
        ),
    ],
)
def test_a_certificate_that_cannot_be_used_ends_the_start(certificate, files, named):
    paths = {name: certificate.parent / file for name, file in files.items()}

    async def app(scope, receive, send) -> None:
        raise AssertionError

    with pytest.raises(StartupError, match=f"TLS: .*{named}") as ended:
        http_server(app, ServiceConfig(**paths), lambda: None)
    assert "BEGIN" not in str(ended.value)


FORWARDED = {"x-forwarded-for": "203.0.113.9", "x-forwarded-proto": "https"}


def test_the_word_of_a_proxy_is_taken_from_those_that_are_trusted_only(redis_url):
    url = f"{redis_url}?db=11"
    token = issued(url)
    for proxies, is_believed in ((("127.0.0.1",), True), (("192.0.2.0/24",), False), ((), False)):
        with guarded(url, trusted_proxies=proxies) as base_url:
            reply = httpx.get(f"{base_url}/v1/runs", headers=with_token(token) | FORWARDED)
            assert ("strict-transport-security" in reply.headers) is is_believed
            # Only loopback may ask this without a token: a proxy there is not the one who asks.
            ready = httpx.get(f"{base_url}/readyz", headers=FORWARDED)
            assert ready.status_code == (401 if is_believed else 200)
