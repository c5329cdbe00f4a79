"""From an uploaded image to an explained verdict: real Kafka, real stores, real weights, a stock client."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

import numpy as np
import pytest
from confluent_kafka import Producer
from opentelemetry.proto.trace.v1.trace_pb2 import Status
from PIL import Image
from skimage import data

from telltale.app import STAGES, Wiring
from telltale.events import ImageUploaded
from tests.collector import ids
from tests.contract.consumer import consume

SCHEMAS = Path(__file__).parents[2] / "schemas"


@pytest.fixture(scope="module")
def pictures(tmp_path_factory) -> Path:
    """A face, a cat, a crop of the face, and something that is no picture."""
    folder = tmp_path_factory.mktemp("pictures")
    face = Image.fromarray(data.astronaut())
    face.save(folder / "face.jpg", quality=92)
    face.crop((120, 0, 360, 240)).save(folder / "closer.png")
    Image.fromarray(data.chelsea()).save(folder / "cat.jpg", quality=90)
    (folder / "words.jpg").write_text("this is not a picture")
    (folder / "notes.txt").write_text("left alone")
    return folder


@pytest.fixture(scope="module")
def answers(world, pictures) -> dict[str, dict]:
    """What came back for the folder, by file name."""
    return {Path(v["file"]).name: v for v in world.verdicts(str(pictures))}


def events(world, topic: str, count: int, seconds: float = 90) -> dict[str, dict]:
    """Distinct events of a topic, read as an outsider would."""
    settings = Wiring(world.settings).settings
    found = consume(
        settings.kafka_bootstrap,
        topic,
        SCHEMAS / f"{topic}.v1.json",
        count,
        seconds,
        settings.topic_prefix,
    )
    assert len(found) >= count
    return found


def test_every_picture_in_a_folder_gets_one_verdict(answers) -> None:
    assert sorted(answers) == ["cat.jpg", "closer.png", "face.jpg", "words.jpg"]


def test_what_is_no_picture_is_rejected_with_its_code(answers) -> None:
    assert (answers["words.jpg"]["verdict"], answers["words.jpg"]["code"]) == (
        "rejected",
        "not_an_image",
    )
    assert answers["words.jpg"]["probability"] is None


def test_a_picture_without_a_face_is_not_called_authentic_in_silence(answers) -> None:
    assert answers["cat.jpg"]["verdict"] != "authentic" or answers["cat.jpg"]["claims"]


def test_claims_come_with_the_numbers_to_check_them(answers) -> None:
    claims = [c for name in ("face.jpg", "closer.png") for c in answers[name]["claims"]]
    assert claims
    for claim in claims:
        assert claim["status"] in ("supported", "contradicted", "undecidable")
        assert claim["documents"]
        assert claim["verifier"] in ("clip", "measure", "ask")


def test_a_stock_client_reads_verdicts_by_the_published_schema(world, answers) -> None:
    found = {e["value"]["image_id"]: e for e in events(world, "verdicts.issued", 4).values()}
    face = found[answers["face.jpg"]["image_id"]]
    assert face["key"] == face["value"]["image_id"] == face["headers"]["ce_subject"]
    assert face["headers"]["ce_type"] == "telltale.verdict.issued.v1"
    assert face["headers"]["traceparent"]
    made_by = face["value"]["verdict"]["provenance"]
    assert made_by["profile"] == "mini"
    assert all(made_by[part] for part in ("detector", "encoder", "judge", "corpus", "policy"))


def test_every_verdict_but_a_rejection_is_explained(world, answers) -> None:
    found = {
        e["value"]["image_id"]: e["value"] for e in events(world, "explanations.ready", 3).values()
    }
    assert set(found) == {a["image_id"] for n, a in answers.items() if n != "words.jpg"}
    blobs = Wiring(world.settings).blobs
    for explained in found.values():
        overview = Image.open(blobs.picture_path(explained["explanation"]["overview"]))
        assert overview.width > 100
        for drawn in explained["explanation"]["maps"]:
            assert (drawn["picture"] is not None) == drawn["informative"]


def test_the_face_of_a_photograph_nobody_composed_is_found(world, answers) -> None:
    found = {
        e["value"]["image_id"]: e["value"] for e in events(world, "verdicts.issued", 4).values()
    }
    regions = found[answers["face.jpg"]["image_id"]]["detection"]["regions"]
    faces = [r["box_px"] for r in regions if r["type"] == "face"]
    # the astronaut's face, by eye: 512 x 512 picture, head upper middle
    assert any(x0 < 224 < x1 and y0 < 110 < y1 and x1 - x0 < 200 for x0, y0, x1, y1 in faces)


def uploads_trace(world, image_id: str) -> tuple[str, str]:
    """Trace and span id that an upload came with."""
    sent = events(world, "images.uploaded", 4).values()
    return ids(
        next(e["headers"]["traceparent"] for e in sent if e["value"]["image_id"] == image_id)
    )


def test_an_upload_is_one_trace_through_all_stages_to_its_explanation(
    world, answers, collector
) -> None:
    image_id = answers["face.jpg"]["image_id"]
    spans = collector.of(image_id, len(STAGES) + 1)  # record has two: the verdict, its explanation
    trace_id, uploaded = uploads_trace(world, image_id)
    assert {s.trace_id.hex() for s in spans} == {trace_id}
    by_id = {s.span_id.hex(): s for s in spans}

    def way(span) -> list[str]:
        parent = by_id.get(span.parent_span_id.hex())
        assert parent is not None or span.parent_span_id.hex() == uploaded
        return [*(way(parent) if parent else ["upload"]), span.name]

    judged = ["upload", "intake", "detect", "retrieve", "judge", "verify"]
    assert sorted(way(s) for s in spans) == sorted(
        [
            *(judged[:n] for n in range(2, len(judged) + 1)),
            [*judged, "explain"],
            [*judged, "record"],
            [*judged, "explain", "record"],
        ]
    )
    assert {s.status.code for s in spans} == {Status.STATUS_CODE_UNSET}
    for span in spans:
        parent = by_id.get(span.parent_span_id.hex())
        assert span.start_time_unix_nano < span.end_time_unix_nano
        assert parent is None or parent.start_time_unix_nano < span.start_time_unix_nano


def test_a_rejected_upload_is_a_trace_too(world, answers, collector) -> None:
    image_id = answers["words.jpg"]["image_id"]
    # explain has nothing to draw, and says so by answering with nothing
    spans = {s.name: s for s in collector.of(image_id, 3)}
    trace_id, uploaded = uploads_trace(world, image_id)
    assert set(spans) == {"intake", "explain", "record"}
    assert {s.trace_id.hex() for s in spans.values()} == {trace_id}
    intake = spans["intake"]
    assert intake.parent_span_id.hex() == uploaded
    assert spans["record"].parent_span_id == spans["explain"].parent_span_id == intake.span_id


def test_show_prints_the_evidence_of_an_image(world, answers) -> None:
    face = answers["face.jpg"]
    done = world.telltale("show", face["image_id"])
    assert done.returncode == 0, done.stderr
    assert face["verdict"] in done.stdout
    assert "overview.jpg" in done.stdout
    recorded = json.loads(world.telltale("show", face["image_id"], "--json").stdout)[0]
    assert recorded["verdict"]["verdict"]["probability"] == face["probability"]
    assert world.telltale("show", "nobody").returncode == 2


def test_watch_shows_past_verdicts_and_ends_when_told(world, answers) -> None:
    done = world.telltale("watch", "--since", "60", "--count", "4", "--json")
    assert done.returncode == 0, done.stderr
    assert {json.loads(line)["image_id"] for line in done.stdout.splitlines()} == {
        a["image_id"] for a in answers.values()
    }


def test_topics_list_knows_the_lag_of_every_stage(world, answers) -> None:
    done = world.telltale("topics", "list", "--json")
    assert done.returncode == 0, done.stderr
    listed = {t["name"]: t for t in json.loads(done.stdout)}
    uploaded = next(t for name, t in listed.items() if name.endswith("images.uploaded"))
    assert uploaded["events"] >= 4
    assert uploaded["lag"] == {"intake": 0}


def produce(world, event: ImageUploaded, event_id: str, times: int) -> None:
    settings = Wiring(world.settings).settings
    producer = Producer({"bootstrap.servers": settings.kafka_bootstrap})
    for _ in range(times):
        producer.produce(
            settings.topic_prefix + event.topic, event.model_dump_json().encode(), event.image_id.encode(),
            headers={"ce_id": event_id, "ce_type": event.type_name, "ce_specversion": "1.0"},
        )  # fmt: skip
    assert producer.flush(20) == 0


def test_the_same_upload_sent_three_times_is_one_verdict(world) -> None:
    pixels = np.asarray(data.astronaut())[:256, 100:356]
    path = Path(world.settings.images_root.removeprefix("file://")).parent / "again.png"
    Image.fromarray(pixels).save(path)
    sha = Wiring(world.settings).blobs.put(path.read_bytes())
    event = ImageUploaded(
        image_id=f"again-{uuid4().hex[:6]}",
        uploaded_at=datetime.now(UTC),
        uri=f"telltale:sha256/{sha}",
    )
    produce(world, event, str(uuid4()), 3)
    world.wait_all_read()  # a second verdict would be there by now, too
    store = Wiring(world.settings).verdict_store
    assert len(store.of_image(event.image_id)) == 1
    store.close()


def test_the_same_picture_costs_no_second_pass_of_the_encoder(world, answers, pictures) -> None:
    wiring = Wiring(world.settings)
    recorded = wiring.verdict_store.of_image(answers["face.jpg"]["image_id"])[0].verdict
    wiring.verdict_store.close()
    keys = [k for r in recorded.detection.regions for k in r.embedding_keys]
    import redis

    held = redis.Redis.from_url(wiring.settings.redis_url).exists(*keys)
    assert held == len(set(keys))


def test_an_event_that_cannot_be_read_is_dead_with_the_field_and_its_neighbours_live(
    world, pictures
) -> None:
    settings = Wiring(world.settings).settings
    producer = Producer({"bootstrap.servers": settings.kafka_bootstrap})
    bad = [
        b"not json",
        b'{"version":"9.0","image_id":"x","uploaded_at":"2026-01-01T00:00:00Z","uri":"https://a/b"}',
        b'{"version":"1.0","image_id":"x"}',
    ]
    for value in bad:
        producer.produce(settings.topic_prefix + "images.uploaded", value, b"x")
    assert producer.flush(20) == 0
    assert world.verdicts(str(pictures / "closer.png"))[0]["verdict"] != "rejected"
    from confluent_kafka import Consumer

    consumer = Consumer(
        {
            "bootstrap.servers": settings.kafka_bootstrap,
            "group.id": str(uuid4()),
            "auto.offset.reset": "earliest",
        }
    )
    consumer.subscribe([settings.topic_prefix + "images.uploaded.dead"])
    dead = {}
    for _ in range(60):
        message = consumer.poll(0.5)
        if message is not None and not message.error():
            dead[message.value()] = dict(message.headers())["telltale.errors.message"].decode()
        if len(dead) == len(bad):
            break
    consumer.close()
    assert set(dead) == set(bad)
    assert "version" in dead[bad[1]]
    assert "uploaded_at" in dead[bad[2]] or "uri" in dead[bad[2]]
