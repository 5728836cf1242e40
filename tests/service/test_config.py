"""Configuration: from variables, refused with the name of the variable, never a global."""

from pathlib import Path

import pytest

from monitor_service.config import ServiceConfig, from_environment
from monitor_service.errors import InvalidInput
from monitor_service.urls import without_password


def test_without_variables_it_is_a_private_monitor_with_its_own_store():
    assert from_environment({}) == ServiceConfig()
    assert ServiceConfig().host == "127.0.0.1"
    assert ServiceConfig().redis_url is None


def test_every_variable_is_read():
    found = from_environment(
        {
            "ACR_HOST": "::1",
            "ACR_PORT": "0",
            "ACR_DATA_DIR": "/data/acr",
            "ACR_REDIS_URL": "rediss://redis.example:6380/2",
            "ACR_MAX_BODY_BYTES": "1024",
            "ACR_INSECURE": "true",
            "ACR_ALLOWED_HOSTS": "Monitor, acr.example.org",
            "ACR_TRUSTED_PROXIES": "10.0.0.7,192.168.0.0/16",
            "ACR_TLS_CERT": "acr.pem",
            "ACR_TLS_KEY": "acr.key",
            "ACR_TLS_KEY_PASSWORD_FILE": "acr.password",
            "ACR_RECEIVE_S": "2.5",
            "ACR_MAX_REQUESTS_PER_S": "7",
            "ACR_MAX_REQUESTS_BURST": "8",
            "ACR_MAX_IN_FLIGHT": "9",
            "ACR_MAX_CONNECTIONS": "10",
            "ACR_MAX_STREAMS": "11",
            "ACR_MAX_RUNS": "12",
            "UNRELATED": "x",
        }
    )
    assert found == ServiceConfig(
        host="::1",
        port=0,
        data_dir=Path("/data/acr"),
        redis_url="rediss://redis.example:6380/2",
        max_body_bytes=1024,
        insecure=True,
        allowed_hosts=("monitor", "acr.example.org"),
        trusted_proxies=("10.0.0.7", "192.168.0.0/16"),
        tls_cert=Path("acr.pem"),
        tls_key=Path("acr.key"),
        tls_key_password_file=Path("acr.password"),
        receive_s=2.5,
        max_requests_per_s=7,
        max_requests_burst=8,
        max_in_flight=9,
        max_connections=10,
        max_streams=11,
        max_runs=12,
    )


def test_an_empty_variable_is_no_variable():
    assert from_environment({"ACR_PORT": "", "ACR_REDIS_URL": ""}) == ServiceConfig()


@pytest.mark.parametrize(
    ("name", "value", "field"),
    [
        ("ACR_PORT", "eighty", "ACR_PORT"),
        ("ACR_PORT", "65536", "port"),
        ("ACR_PORT", "-1", "port"),
        ("ACR_MAX_BODY_BYTES", "1 MB", "ACR_MAX_BODY_BYTES"),
        ("ACR_MAX_BODY_BYTES", "1023", "max_body_bytes"),
        ("ACR_INSECURE", "maybe", "ACR_INSECURE"),
        ("ACR_REDIS_URL", "http://localhost:6379", "redis_url"),
        ("ACR_REDIS_URL", "localhost:6379", "redis_url"),
        ("ACR_REDIS_URL", "redis://localhost:port", "redis_url"),
        ("ACR_REDIS_URL", "redis://[::1", "redis_url"),
        ("ACR_REDIS_URL", "redis://", "redis_url"),
        ("ACR_REDIS_URL", "unix://", "redis_url"),
    ],
)
def test_a_bad_variable_is_refused_by_name(name, value, field):
    with pytest.raises(InvalidInput) as refused:
        from_environment({name: value})
    assert refused.value.field == field


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.0.7", "gpu-node-3", "127.0.0.2", ""])
def test_an_address_that_others_can_reach_is_told_from_loopback(host):
    assert not ServiceConfig(host=host).is_local
    assert ServiceConfig(host="localhost").is_local


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ACR_RECEIVE_S", "0"),
        ("ACR_RECEIVE_S", "nan"),
        ("ACR_MAX_REQUESTS_PER_S", "inf"),
        ("ACR_MAX_REQUESTS_BURST", "0"),
        ("ACR_MAX_IN_FLIGHT", "1"),
        ("ACR_MAX_CONNECTIONS", "-5"),
        ("ACR_MAX_STREAMS", "-1"),
        ("ACR_MAX_RUNS", "0"),
        ("ACR_TRUSTED_PROXIES", "10.0.0.0/8, proxy"),
    ],
)
def test_a_limit_that_makes_no_sense_is_refused_by_name(name, value):
    with pytest.raises(InvalidInput) as refused:
        from_environment({name: value})
    assert refused.value.field == name.removeprefix("ACR_").lower()


def test_a_key_without_a_certificate_is_refused():
    with pytest.raises(InvalidInput, match="tls_cert"):
        from_environment({"ACR_TLS_KEY": "key.pem"})


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://:secret@host:6379/0", "redis://host:6379/0"),
        ("rediss://user:se/cr@et@host/1", "rediss://host/1"),
        ("redis://host:6379", "redis://host:6379"),
        ("unix:///data/a@b/valkey.sock", "unix:///data/a@b/valkey.sock"),
    ],
)
def test_a_shown_url_has_no_password_and_still_works(url, shown):
    assert without_password(url) == shown


def test_a_refused_redis_url_does_not_show_its_password():
    with pytest.raises(InvalidInput) as refused:
        ServiceConfig(redis_url="http://user:secret@host")
    assert "secret" not in str(refused.value)
