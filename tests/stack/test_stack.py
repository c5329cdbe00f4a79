"""The embedded stack: found again, kept over restarts, gone with its owner, replaced where it must be."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psycopg
import pytest
import redis
from confluent_kafka import Consumer, Producer
from confluent_kafka.admin import AdminClient, NewTopic

from telltale.errors import UsageError
from telltale.stack import Endpoints, down, read_endpoints, up


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    where = tmp_path_factory.mktemp("own-stack")
    yield where
    down(where)


def wait_until(condition, seconds: float = 30.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not so after {seconds} s"
        time.sleep(0.05)


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def put(endpoints: Endpoints) -> None:
    """One thing into every server."""
    admin = AdminClient({"bootstrap.servers": endpoints.kafka_bootstrap})
    for future in admin.create_topics([NewTopic("kept", 1)]).values():
        future.result(20)
    producer = Producer({"bootstrap.servers": endpoints.kafka_bootstrap, "acks": "all"})
    producer.produce("kept", b"event")
    assert producer.flush(20) == 0
    with psycopg.connect(endpoints.postgres_dsn) as db:
        db.execute("CREATE EXTENSION IF NOT EXISTS vector")
        db.execute("CREATE TABLE kept AS SELECT '[1,2]'::halfvec(2) AS v")
    redis.Redis.from_url(endpoints.redis_url).set("kept", "vector")


def held(endpoints: Endpoints) -> tuple[object, object, object]:
    """What the servers have of it."""
    consumer = Consumer(
        {
            "bootstrap.servers": endpoints.kafka_bootstrap,
            "group.id": "g",
            "auto.offset.reset": "earliest",
        }
    )
    consumer.subscribe(["kept"])
    message = consumer.poll(20)
    consumer.close()
    with psycopg.connect(endpoints.postgres_dsn) as db:
        row = db.execute("SELECT v::text FROM kept").fetchone()
    return (
        message and message.value(),
        row and row[0],
        redis.Redis.from_url(endpoints.redis_url).get("kept"),
    )


def test_a_second_up_finds_the_first_also_when_both_come_at_once(home) -> None:
    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(lambda _: up(home), range(2))
    assert first == second == up(home) == read_endpoints(home)


def test_everything_listens_on_loopback_alone(home) -> None:
    endpoints = up(home)
    for address in (endpoints.kafka_bootstrap, endpoints.postgres_dsn, endpoints.redis_url):
        assert "127.0.0.1" in address
    sockets = Path("/proc/net/tcp").read_text().splitlines()[1:]
    ports = {
        int(a.rsplit(":", 1)[1].split("/")[0])
        for a in (endpoints.kafka_bootstrap, endpoints.postgres_dsn, endpoints.redis_url)
    }
    listening = {
        (f.split()[1].split(":")[0], int(f.split()[1].split(":")[1], 16))
        for f in sockets
        if f.split()[3] == "0A"
    }
    assert {address for address, port in listening if port in ports} <= {"0100007F"}


def test_only_the_owner_can_read_the_passwords(home) -> None:
    up(home)
    for name in ("stack.json", "postgres.password", "valkey.password", "valkey.conf"):
        assert (home / name).stat().st_mode & 0o077 == 0, name


def test_data_survive_a_stop_and_a_kill_and_children_go_with_their_owner(home) -> None:
    put(up(home))
    assert down(home)
    assert read_endpoints(home) is None
    assert held(up(home)) == (b"event", "[1,2]", b"vector")
    endpoints = up(home)
    os.kill(endpoints.supervisor_pid, signal.SIGKILL)
    wait_until(lambda: not any(alive(p) for p in endpoints.pids.values()))
    assert read_endpoints(home) is None
    again = up(home)
    with psycopg.connect(again.postgres_dsn) as db:
        assert db.execute("SELECT count(*) FROM kept").fetchone() == (1,)
    assert redis.Redis.from_url(again.redis_url).get("kept") == b"vector"


def test_a_server_that_dies_is_started_again(home) -> None:
    endpoints = up(home)
    os.kill(endpoints.pids["valkey"], signal.SIGKILL)

    def answers() -> bool:
        try:
            return bool(redis.Redis.from_url(endpoints.redis_url).ping())
        except redis.RedisError:
            return False

    wait_until(lambda: not alive(endpoints.pids["valkey"]))
    wait_until(answers)


def test_a_port_that_was_taken_meanwhile_is_replaced(home) -> None:
    port = int(up(home).redis_url.rsplit(":", 1)[1].split("/")[0])
    down(home)
    said: list[str] = []
    with socket.socket() as other:
        other.bind(("127.0.0.1", port))
        other.listen()
        endpoints = up(home, said.append)
        assert f":{port}/" not in endpoints.redis_url
        assert redis.Redis.from_url(endpoints.redis_url).ping()
    assert any(str(port) in line and "taken" in line for line in said)


def unreachable(tmp_path: Path) -> dict[str, str]:
    """An environment in which no jar is cached and no repository answers."""
    settings = tmp_path / "home" / ".m2"
    settings.mkdir(parents=True)
    proxy = "http://127.0.0.1:9"  # the discard port: nobody listens
    return {
        "HOME": str(tmp_path / "home"), "TELLTALE_CACHE": str(tmp_path / "cache"), "HTTPS_PROXY": proxy,
        "HTTP_PROXY": proxy, "https_proxy": proxy, "http_proxy": proxy, "NO_PROXY": "", "no_proxy": "",
    }  # fmt: skip


def start(home: Path, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    code = f"from pathlib import Path; from telltale.stack import up, down; h = Path({str(home)!r}); print(up(h, print).model_dump_json()); down(h)"
    return subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_without_a_repository_a_mock_broker_serves_and_says_what_is_untested(tmp_path) -> None:
    done = start(tmp_path / "tt", {**unreachable(tmp_path), "TELLTALE_REQUIRE_KAFKA": ""})
    assert done.returncode == 0, done.stderr[-500:]
    told, endpoints = done.stdout.strip().rsplit("\n", 1)
    assert "mock broker" in told
    assert "retention" in told
    assert Endpoints.model_validate_json(endpoints).broker == "mock"


def test_where_the_real_broker_is_required_its_absence_is_an_error(tmp_path) -> None:
    done = start(tmp_path / "tt", {**unreachable(tmp_path), "TELLTALE_REQUIRE_KAFKA": "1"})
    assert done.returncode != 0
    assert "TELLTALE_REQUIRE_KAFKA" in done.stderr


def test_a_home_that_cannot_be_written_is_named(tmp_path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="TELLTALE_HOME"):
        up(tmp_path / "file" / "home")
