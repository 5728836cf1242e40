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


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.0.7", "gpu-node-3"])
def test_an_address_that_others_can_reach_needs_the_word_insecure(host):
    with pytest.raises(InvalidInput, match="no authentication"):
        ServiceConfig(host=host)
    assert ServiceConfig(host=host, insecure=True).host == host


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
