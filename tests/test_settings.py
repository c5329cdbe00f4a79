"""Every option is documented, and a wrong value is told in one sentence that names its variable."""

from __future__ import annotations

import pytest

from telltale.errors import UsageError
from telltale.settings import Settings, load_settings


@pytest.mark.parametrize("name", sorted(Settings.model_fields))
def test_every_option_says_what_it_means(name: str) -> None:
    assert len(Settings.model_fields[name].description or "") > 10


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("TELLTALE_PROFILE", "huge"),
        ("TELLTALE_ATTEMPTS", "none"),
        ("TELLTALE_ATTEMPTS", "0"),
        ("TELLTALE_FETCH_TIMEOUT_S", "-1"),
        ("TELLTALE_TOPIC_PREFIX", "a b"),
    ],
)
def test_a_wrong_value_names_its_variable(monkeypatch, variable: str, value: str) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(UsageError, match=variable):
        load_settings()


def test_a_list_that_is_not_json_says_so(monkeypatch) -> None:
    monkeypatch.setenv("TELLTALE_FETCH_ALLOW_HOSTS", "cdn.internal")
    with pytest.raises(UsageError, match="JSON"):
        load_settings()


def test_secrets_are_not_printed() -> None:
    shown = repr(load_settings(kafka_password="geheim", judge_api_key="geheim"))
    assert "geheim" not in shown
