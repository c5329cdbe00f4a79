"""The stores on the real servers: repeats change nothing, order does not matter, outages are told apart."""

from __future__ import annotations

import socket
import time
from datetime import UTC, datetime, timedelta
from urllib.parse import urlsplit
from uuid import uuid4

import numpy as np
import psycopg
import pytest
import redis

from telltale import tally
from telltale.cues import load_cues, load_documents
from telltale.errors import DependencyAway, EventFailed, UsageError
from telltale.events import (
    Explanation,
    ExplanationReady,
    Image,
    Provenance,
    Verdict,
    VerdictIssued,
)
from telltale.stores.cues import CueStore, Wanted
from telltale.stores.embeddings import EmbeddingCache
from telltale.stores.images import ImageStore
from telltale.stores.migrate import migrate
from telltale.stores.verdicts import VerdictStore

NOW = datetime(2026, 1, 1, tzinfo=UTC)


class HashEncoder:
    """A vector drawn from each sentence's own letters; it tells sentences apart and knows nothing."""

    revision = "hash-1"
    dim = 64
    size_px = 8

    def encode_texts(self, sentences):
        rows = [np.random.default_rng(list(s.encode())).normal(size=self.dim) for s in sentences]
        return np.array([r / np.linalg.norm(r) for r in rows], np.float32)


@pytest.fixture
def database(fresh_database: str) -> str:
    migrate(fresh_database)
    return fresh_database


def dead_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def verdict(
    image_id: str = "a", phash: str = "0" * 16, at: datetime = NOW, sha: str = "0" * 64
) -> VerdictIssued:
    return VerdictIssued(
        image_id=image_id, uploaded_at=at, upload_id=uuid4(),
        image=Image(sha256=sha, phash=phash, width_px=9, height_px=9, media_type="image/png", size_bytes=9),
        verdict=Verdict(
            verdict="authentic", probability=0.1, reliability=None, action="pass", explanation="x",
            provenance=Provenance(profile="mini", policy="p", telltale="0"),
        ),
    )  # fmt: skip


def explanation(of: VerdictIssued, verdict_id) -> ExplanationReady:
    return ExplanationReady(
        image_id=of.image_id, uploaded_at=of.uploaded_at, upload_id=of.upload_id, verdict_id=verdict_id,
        sha256="0" * 64, explanation=Explanation(maps=(), overview=None, encoder="e"),
    )  # fmt: skip


def test_migrations_apply_once_and_in_order(fresh_database) -> None:
    applied = migrate(fresh_database)
    assert applied == sorted(applied)
    assert len(applied) >= 4
    assert migrate(fresh_database) == []


def test_every_migration_says_why() -> None:
    from telltale.stores.migrate import migrations_folder

    for path in migrations_folder().glob("*.sql"):
        first = path.read_text().split("\n\n")[0].splitlines()
        assert (
            sum(line.startswith("-- ") and not line.startswith("-- depends") for line in first) >= 2
        ), path.name


def test_loading_the_corpus_again_changes_nothing(database) -> None:
    store, encoder = CueStore(database), HashEncoder()
    assert store.load(load_cues(), load_documents(), encoder)
    assert not store.load(load_cues(), load_documents(), encoder)
    assert store.load(load_cues()[:-1], load_documents(), encoder)
    with psycopg.connect(database) as db:
        assert db.execute("SELECT count(*) FROM cues").fetchone() == (len(load_cues()) - 1,)
    store.close()


def test_the_nearest_cue_is_the_one_that_says_it_and_belongs_there(database) -> None:
    store, encoder = CueStore(database), HashEncoder()
    store.load(load_cues(), load_documents(), encoder)
    cue = next(c for c in load_cues() if c.region == "teeth")
    from telltale.stores.cues import _mean

    vector = _mean(encoder, cue, "artifact")
    found = store.nearest(
        encoder.revision,
        [Wanted("0.mouth", vector, ("teeth", "lips")), Wanted("0.ear.0", vector, ("ear",))],
        3,
    )
    assert (found[0].cue_id, found[0].side, found[0].region_id) == (
        cue.cue_id,
        "artifact",
        "0.mouth",
    )
    assert found[0].similarity == pytest.approx(1.0, abs=2e-3)
    by_region = {(m.region_id, m.cue_id.split(".")[0]) for m in found}
    assert {r for _, r in by_region if _ == "0.ear.0"} == {"ear"}
    assert {(m.region_id, m.side) for m in found} == {
        (r, s) for r in ("0.mouth", "0.ear.0") for s in ("artifact", "natural")
    }
    store.close()


def test_an_encoder_whose_cues_are_not_loaded_is_named(database) -> None:
    store = CueStore(database)
    with pytest.raises(UsageError, match="cues load"):
        store.revision("another")
    store.close()


def test_a_new_corpus_under_one_encoder_leaves_the_vectors_of_another(database) -> None:
    store, one, two = CueStore(database), HashEncoder(), HashEncoder()
    two.revision = "hash-2"
    cues = [c for c in load_cues() if c.region in ("eyes", "ear")]
    store.load(cues, load_documents(), one)
    before = store.revision(one.revision)
    store.load(cues[1:], load_documents(), two)
    assert store.revision(one.revision) == before != store.revision(two.revision)
    with psycopg.connect(database) as db:
        rows = db.execute("SELECT encoder, count(*) FROM cue_vectors GROUP BY 1 ORDER BY 1")
        assert rows.fetchall() == [("hash-1", 2 * len(cues)), ("hash-2", 2 * len(cues) - 2)]
    assert store.load(cues, load_documents(), one)  # what people read is brought back too
    store.close()


def test_an_exemplar_far_away_is_found_behind_thousands_that_do_not_fit(database) -> None:
    store, near, far = (
        CueStore(database),
        np.eye(4, dtype=np.float32)[0],
        np.eye(4, dtype=np.float32)[1],
    )
    crowd = np.random.default_rng(1).normal(near, 0.05, (2000, 4)).astype(np.float32)
    store.put_exemplars("e", [(f"n{i}", "ear", None, False, v) for i, v in enumerate(crowd)])
    store.put_exemplars("e", [(f"f{i}", "eye", None, True, far) for i in range(3)])
    store.put_exemplars("other", [("f0", "eye", None, True, far)])
    with psycopg.connect(database, autocommit=True) as db:
        db.execute("DROP INDEX exemplars_by_place")  # leaves only the walk through the graph
        db.execute("ALTER TABLE exemplars DROP CONSTRAINT exemplars_pkey")
        db.execute("ANALYZE exemplars")
    assert store.exemplars("e", [("0.eye.0", "eye", near)], 3) == {"0.eye.0": ("f0", "f1", "f2")}
    store.close()


def test_a_migration_that_was_killed_does_not_lock_the_next_one_out(database) -> None:
    with psycopg.connect(database, autocommit=True) as db:
        db.execute("INSERT INTO yoyo_lock (locked, ctime, pid) VALUES (1, now(), 1)")
    assert migrate(database) == []


def test_a_repeated_verdict_leaves_one_row(database) -> None:
    store, event, event_id = VerdictStore(database), verdict(), uuid4()
    for _ in range(3):
        store.put([(event_id, event), (event_id, event)], [])
    assert [r.verdict for r in store.of_image("a")] == [event]
    store.close()


def test_an_explanation_may_come_before_its_verdict(database) -> None:
    store, event, event_id = VerdictStore(database), verdict(), uuid4()
    drawn = explanation(event, event_id)
    store.put([], [(uuid4(), drawn)])
    assert store.of_image("a") == []
    store.put([(event_id, event)], [])
    assert store.of_image("a")[0].explanation == drawn
    store.close()


def test_a_near_duplicate_is_an_earlier_one_within_so_many_bits(database) -> None:
    store = VerdictStore(database)
    store.put(
        [
            (uuid4(), verdict("near", "000000000000000f")),
            (uuid4(), verdict("far", "ffffffffffffffff")),
        ],
        [],
    )
    later = NOW + timedelta(seconds=1)
    assert store.near_duplicate("0" * 16, 4, later).image_id == "near"
    assert store.near_duplicate("0" * 16, 3, later) is None
    assert store.near_duplicate("0" * 16, 4, NOW) is None
    store.close()


def test_a_database_that_is_away_is_a_dependency_that_is_away() -> None:
    dsn = f"postgresql://x@127.0.0.1:{dead_port()}/x"
    with pytest.raises(DependencyAway, match="postgres"):
        migrate(dsn)
    with pytest.raises(DependencyAway, match="postgres"):
        VerdictStore(dsn).latest(1)


def test_a_dropped_connection_is_replaced(database) -> None:
    store = VerdictStore(database)
    store.latest(1)
    with psycopg.connect(database, autocommit=True) as db:
        db.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
    assert store.latest(1) == []
    store.close()


def test_cached_vectors_come_back_and_the_rest_is_missed(stack) -> None:
    cache = EmbeddingCache(stack.redis_url, 60, 2.0)
    key, vector = f"emb:{uuid4()}", np.array([0.25, -0.5], np.float32)
    cache.put_many({key: vector})
    found = cache.get_many([key, "emb:none"])
    assert list(found) == [key]
    np.testing.assert_array_equal(found[key], vector)


def test_a_cache_that_is_away_costs_nothing_but_speed(caplog) -> None:
    cache = EmbeddingCache(f"redis://127.0.0.1:{dead_port()}/0", 60, 0.2)
    for _ in range(3):
        assert cache.get_many(["a"]) == {}
        cache.put_many({"a": np.zeros(2, np.float32)})
    assert sum("redis is away" in r.message for r in caplog.records) == 1


def test_a_cache_that_is_away_is_shown_until_it_answers(stack) -> None:
    EmbeddingCache(f"redis://127.0.0.1:{dead_port()}/0", 60, 0.2).get_many(["a"])
    assert tally.away()["redis"].startswith("ConnectionError")
    EmbeddingCache(stack.redis_url, 60, 5.0).get_many(["a"])
    assert "redis" not in tally.away()


def test_a_cache_that_gives_but_takes_nothing_is_shown_until_it_takes(stack, caplog) -> None:
    server = redis.Redis.from_url(stack.redis_url)
    server.execute_command("ACL", "SETUSER", "reader", "on", ">secret", "~*", "+mget", "+ping")
    try:
        url = urlsplit(stack.redis_url)
        cache = EmbeddingCache(f"redis://reader:secret@127.0.0.1:{url.port}{url.path}", 60, 5.0)
        key = f"emb:{uuid4()}"
        for _ in range(3):
            assert cache.get_many([key]) == {}
            cache.put_many({key: np.zeros(2, np.float32)})
            assert "NoPermission" in tally.away()["redis"]
        cache.get_many([key])
        assert "redis" in tally.away(), "it gives what it has, and takes nothing"
        assert sum("redis is away" in r.message for r in caplog.records) == 1
        server.execute_command("ACL", "SETUSER", "reader", "+set")
        cache.put_many({key: np.zeros(2, np.float32)})
        assert "redis" not in tally.away()
    finally:
        server.execute_command("ACL", "DELUSER", "reader")


def test_a_cache_that_never_answers_takes_no_longer_than_its_limit() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        cache = EmbeddingCache(f"redis://127.0.0.1:{silent.getsockname()[1]}/0", 60, 0.2)
        started = time.monotonic()
        assert cache.get_many(["a"]) == {}
        assert time.monotonic() - started < 3


@pytest.mark.parametrize("key", ["../secret", "/etc/passwd", "pictures/../../x", "", "a//b"])
def test_a_key_may_not_lead_out_of_the_store(tmp_path, key: str) -> None:
    with pytest.raises(EventFailed, match="no key"):
        ImageStore(f"file://{tmp_path}", {}).get_picture(key)


def test_an_object_store_that_is_away_is_a_dependency_that_is_away(monkeypatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    store = ImageStore("s3://b/p", {"endpoint_url": f"http://127.0.0.1:{dead_port()}"})
    with pytest.raises(DependencyAway, match="image store"):
        store.get("0" * 64)


def test_blobs_are_the_uploaded_bytes_under_their_hash(tmp_path) -> None:
    store = ImageStore(f"file://{tmp_path}", {})
    sha = store.put(b"picture")
    assert store.put(b"picture") == sha
    assert store.get(sha) == b"picture"
    assert store.exists(sha)
    assert not store.exists("0" * 64)
    assert [p.name for p in (tmp_path / "blobs").rglob("*") if p.is_file()] == [sha]


def test_a_missing_blob_fails_its_event_and_a_missing_store_waits(tmp_path) -> None:
    store = ImageStore(f"file://{tmp_path / 'images'}", {})
    with pytest.raises(EventFailed, match="has no"):
        store.get("0" * 64)
    (tmp_path / "images").write_text("in the way")
    with pytest.raises(DependencyAway, match="image store"):
        store.put(b"picture")


def test_pictures_are_found_where_a_person_can_open_them(tmp_path) -> None:
    store = ImageStore(f"file://{tmp_path}", {})
    store.put_picture("pictures/v/overview.png", b"png")
    assert store.get_picture("pictures/v/overview.png") == b"png"
    assert store.picture_path("pictures/v/overview.png") == str(
        tmp_path / "pictures/v/overview.png"
    )


def test_an_unknown_store_is_named() -> None:
    with pytest.raises(UsageError, match="TELLTALE_IMAGES_URL"):
        ImageStore("nowhere://x", {})


@pytest.fixture
def bucket(monkeypatch):
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    yield f"http://{host}:{port}"
    server.stop()


def test_the_same_store_keeps_its_blobs_in_s3(bucket) -> None:
    import s3fs

    s3fs.S3FileSystem(endpoint_url=bucket).mkdir("telltale")
    store = ImageStore("s3://telltale/images", {"endpoint_url": bucket})
    sha = store.put(b"picture")
    assert store.get(sha) == b"picture"
    assert store.exists(sha)
    with pytest.raises(EventFailed):
        store.get("0" * 64)
    assert store.picture_path("a.png").startswith("s3://telltale/images/")
