"""The doctor says of each thing whether it is well, what it found, and what to do where it is not."""

from __future__ import annotations

import pytest
from confluent_kafka.admin import AdminClient, NewTopic

from telltale.settings import load_settings
from telltale.stack.doctor import check
from telltale.stores.migrate import migrate
from telltale.topics import TOPICS


@pytest.fixture
def prepared(settings, fresh_database):
    """Settings whose topics exist and whose database is up to date."""
    admin = AdminClient({"bootstrap.servers": settings.kafka_bootstrap})
    new = [NewTopic(settings.topic_prefix + topic.name, 1) for topic in TOPICS]
    for future in admin.create_topics(new).values():
        future.result(20)
    migrate(fresh_database)
    return settings.model_copy(update={"postgres_dsn": fresh_database})


def by_name(settings):
    return {c.name: c for c in check(settings.home, settings)}


def test_all_is_well_where_all_is_prepared(prepared) -> None:
    assert [c for c in check(prepared.home, prepared) if not c.ok] == []


def test_no_password_is_shown(prepared) -> None:
    password = prepared.postgres_dsn.split(":")[2].split("@")[0]
    assert password not in "".join(c.says + c.do for c in check(prepared.home, prepared))


def test_missing_topics_and_migrations_are_named_with_the_command_that_makes_them(
    settings, fresh_database
) -> None:
    found = by_name(settings.model_copy(update={"postgres_dsn": fresh_database}))
    assert not found["kafka"].ok
    assert "verdicts.issued" in found["kafka"].says
    assert "telltale topics create" in found["kafka"].do
    assert not found["migrations"].ok
    assert "0001" in found["migrations"].says
    assert found["postgres"].ok
    assert found["pgvector"].ok


def test_servers_that_do_not_answer_are_each_named(tmp_path) -> None:
    nowhere = "127.0.0.1:9"  # the discard port: nobody listens
    found = by_name(
        load_settings(
            home=tmp_path,
            kafka_bootstrap=nowhere,
            postgres_dsn=f"postgresql://u:secret@{nowhere}/d",
            redis_url=f"redis://:secret@{nowhere}/0",
        )
    )
    for name in ("kafka", "postgres", "redis"):
        assert not found[name].ok
        assert nowhere in found[name].says
        assert f"TELLTALE_{name.upper()}" in found[name].do
    assert "secret" not in "".join(c.says for c in found.values())
    assert found["stack"].ok  # every server is given, so none of ours is needed


def test_where_nothing_runs_it_says_how_to_start_it(tmp_path) -> None:
    found = by_name(load_settings(home=tmp_path / "none"))
    for name in ("stack", "kafka", "postgres", "redis"):
        assert not found[name].ok
        assert "telltale up" in found[name].do
    assert not (tmp_path / "none").exists()


def test_jars_that_were_never_fetched_are_said_to_be_missing(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("TELLTALE_CACHE", str(tmp_path))
    assert not by_name(load_settings(home=tmp_path / "none"))["jars"].ok
