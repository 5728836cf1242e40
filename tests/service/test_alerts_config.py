"""Sinks from variables: refused by name, without showing what may be a secret."""

import pytest

from monitor_service.alerts.config import AlertConfig, from_environment
from monitor_service.config import from_environment as service_from_environment
from monitor_service.errors import InvalidInput

SLACK = "https://hooks.slack.com/services/T0Secret/B0/xyz"
SECRET = "T0Secret of enough characters"


def test_without_variables_only_the_log_is_told():
    assert from_environment({}) == AlertConfig()
    assert AlertConfig().log
    assert not AlertConfig().webhook_urls + AlertConfig().slack_urls


def test_every_variable_is_read():
    found = from_environment(
        {
            "ACR_ALERT_LOG": "0",
            "ACR_ALERT_WEBHOOK_URL": "https://a.example/x, http://b.example:8080/y",
            "ACR_ALERT_WEBHOOK_SECRET": SECRET,
            "ACR_ALERT_SLACK_URL": SLACK,
            "ACR_ALERT_MIN_SEVERITY": "critical",
            "ACR_ALERT_ALSO": "ended,locked",
            "ACR_ALERT_QUIET_S": "0",
            "ACR_PUBLIC_URL": "https://acr.example/",
        }
    )
    assert found == AlertConfig(
        log=False,
        webhook_urls=("https://a.example/x", "http://b.example:8080/y"),
        webhook_secret=SECRET,
        slack_urls=(SLACK,),
        min_severity="critical",
        also=frozenset({"ended", "locked"}),
        quiet_s=0.0,
        public_url="https://acr.example",
    )


def test_they_are_part_of_the_configuration_of_the_service():
    found = service_from_environment({"ACR_ALERT_SLACK_URL": SLACK})
    assert found.alerts == AlertConfig(slack_urls=(SLACK,))
    assert "T0Secret" not in repr(found)


def test_nothing_beside_alarms_is_the_word_none():
    assert from_environment({"ACR_ALERT_ALSO": "none"}).also == frozenset()
    assert from_environment({"ACR_ALERT_ALSO": ""}).also == AlertConfig().also


def test_secrets_may_be_in_files(tmp_path):
    path = tmp_path / "slack"
    path.write_text(f"{SLACK}\n{SLACK}2\n")
    found = from_environment({"ACR_ALERT_SLACK_URL_FILE": str(path)})
    assert found.slack_urls == (SLACK, f"{SLACK}2")
    path.write_text(f"{SECRET}\n")
    found = from_environment({"ACR_ALERT_WEBHOOK_SECRET_FILE": str(path)})
    assert found.webhook_secret == SECRET


@pytest.mark.parametrize("variable", ["ACR_ALERT_SLACK_URL", "ACR_ALERT_WEBHOOK_SECRET"])
def test_a_file_that_is_not_there_or_empty_or_too_much_is_refused(tmp_path, variable):
    path = tmp_path / "secret"
    for environ in (
        {f"{variable}_FILE": str(path)},
        {f"{variable}_FILE": str(tmp_path)},
        {f"{variable}_FILE": str(path), variable: SLACK},
    ):
        with pytest.raises(InvalidInput) as refused:
            from_environment(environ)
        assert refused.value.field == f"{variable}_FILE"
    for content in (b" \n", b"\xff\xfe"):
        path.write_bytes(content)
        with pytest.raises(InvalidInput) as refused:
            from_environment({f"{variable}_FILE": str(path)})
        assert refused.value.field == f"{variable}_FILE"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ACR_ALERT_LOG", "yes"),
        ("ACR_ALERT_WEBHOOK_URL", "T0Secret.example/x"),
        ("ACR_ALERT_WEBHOOK_URL", "ftp://T0Secret.example/x"),
        ("ACR_ALERT_WEBHOOK_URL", "https:///T0Secret"),
        ("ACR_ALERT_WEBHOOK_URL", f"https://{'T0Secret' * 10}.example/"),
        ("ACR_ALERT_WEBHOOK_URL", "https://T0Secret.example:99999/"),
        ("ACR_ALERT_WEBHOOK_URL", f"https://a.example/,{'x' * 9}T0Secret"),
        ("ACR_ALERT_WEBHOOK_SECRET", "T0Secret"),
        ("ACR_ALERT_SLACK_URL", "https://T0Secretä/"),
        ("ACR_ALERT_MIN_SEVERITY", "fatal"),
        ("ACR_ALERT_ALSO", "killed,resumed"),
        ("ACR_ALERT_QUIET_S", "10 min"),
        ("ACR_ALERT_QUIET_S", "-1"),
        ("ACR_ALERT_QUIET_S", "nan"),
        ("ACR_PUBLIC_URL", "acr.example"),
    ],
)
def test_a_bad_variable_is_refused_by_name_and_no_secret_is_shown(name, value):
    with pytest.raises(InvalidInput) as refused:
        from_environment({name: value})
    assert refused.value.field == name
    assert "T0Secret" not in str(refused.value)
