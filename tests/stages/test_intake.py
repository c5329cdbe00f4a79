"""Intake: every upload is admitted or answered 'rejected', each by itself and in order."""

from __future__ import annotations

import hashlib
import io
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from uuid import UUID

import numpy as np
import pytest
from PIL import Image

from telltale.errors import DependencyAway
from telltale.events import (
    Envelope,
    ImageAdmitted,
    ImageUploaded,
    VerdictIssued,
    read_value,
    value_bytes,
)  # fmt: skip
from telltale.fetching import FetchLimits
from telltale.pictures import Limits
from telltale.policy import PolicyFile
from telltale.stages.contract import Answered, Item
from telltale.stages.intake import Intake
from telltale.stores.images import ImageStore
from tests.hostile.servers import answer, serving

NOW = datetime(2026, 1, 2, tzinfo=UTC)
FETCH = FetchLimits(allow_hosts=("127.0.0.1/32",), timeout_s=2, max_bytes=100_000)
LIMITS = Limits(max_px=1_000_000, max_side_px=2000, min_side_px=16)


def picture(shade: int = 100, size: tuple[int, int] = (40, 30)) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", size, (shade, 50, 50)).save(out, "PNG")
    return out.getvalue()


def upload(uri: str, number: int = 1, **more) -> Item:
    event = ImageUploaded(image_id=f"image-{number}", uploaded_at=NOW, uri=uri, **more)
    envelope = Envelope(id=UUID(int=number), type=event.type_name, subject=event.image_id, time=NOW)
    return Item(event, envelope)


@pytest.fixture
def blobs(tmp_path) -> ImageStore:
    return ImageStore(f"file://{tmp_path}/images", {})


@pytest.fixture
def intake(blobs: ImageStore) -> Iterator[Intake]:
    stage = Intake(blobs, FETCH, LIMITS, PolicyFile(), "mini")
    stage.open()
    yield stage
    stage.close()


def answers(intake: Intake, *items: Item) -> list[ImageAdmitted | VerdictIssued]:
    """The one event of each outcome, as a consumer reads it from the topic."""
    outcomes = intake.process(items)
    assert len(outcomes) == len(items)
    found = []
    for outcome in outcomes:
        assert isinstance(outcome, Answered), outcome
        (event,) = outcome.events
        found.append(read_value(event.topic, value_bytes(event)))
        assert found[-1] == event
    return found


def code(intake: Intake, item: Item) -> str:
    (event,) = answers(intake, item)
    assert isinstance(event, VerdictIssued)
    assert event.verdict.verdict == "rejected"
    assert event.verdict.reasons == (event.verdict.code,)
    assert event.verdict.probability is None
    assert event.image is None
    return event.verdict.code


def test_a_fetched_picture_is_admitted_and_its_bytes_are_kept_as_they_came(
    intake: Intake, blobs: ImageStore
) -> None:
    data = picture()
    with serving(answer(data)) as server:
        (event,) = answers(intake, upload(f"{server.url}/a.png", context={"post": "7"}))
    assert isinstance(event, ImageAdmitted)
    image = event.image
    assert image.sha256 == hashlib.sha256(data).hexdigest()
    assert (image.width_px, image.height_px, image.media_type) == (40, 30, "image/png")
    assert image.size_bytes == len(data)
    assert blobs.get(image.sha256) == data
    assert (event.upload_id, event.context) == (UUID(int=1), {"post": "7"})


def test_a_turned_picture_is_admitted_with_its_upright_size(
    intake: Intake, blobs: ImageStore
) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    out = io.BytesIO()
    Image.new("RGB", (40, 30)).save(out, "JPEG", exif=exif)
    (event,) = answers(intake, upload(f"telltale:sha256/{blobs.put(out.getvalue())}"))
    assert (event.image.width_px, event.image.height_px) == (30, 40)


def test_a_slow_and_a_bad_upload_cost_their_neighbours_nothing(intake: Intake) -> None:
    def silent(connection, over: threading.Event) -> None:
        over.wait(30)

    with serving(silent) as slow, serving(answer(b"no picture")) as bad, serving(answer(picture())) as good:  # fmt: skip
        uris = [good.url, slow.url, bad.url, good.url, "http://10.0.0.1/", good.url]
        found = answers(intake, *(upload(uri, n) for n, uri in enumerate(uris)))
    assert [e.image_id for e in found] == [f"image-{n}" for n in range(6)]
    assert [e.verdict.code if isinstance(e, VerdictIssued) else "admitted" for e in found] == [
        "admitted", "fetch_timeout", "not_an_image", "admitted", "host_forbidden", "admitted",
    ]  # fmt: skip


def test_what_is_wrong_with_a_stored_upload_is_told(intake: Intake, blobs: ImageStore) -> None:
    absent = "0" * 64
    assert code(intake, upload(f"telltale:sha256/{absent}")) == "blob_missing"
    assert code(intake, upload("telltale:sha256/../../etc/passwd")) == "uri_unsupported"
    assert code(intake, upload(f"telltale:sha256/{absent.upper()}A")) == "uri_unsupported"
    assert code(intake, upload("telltale:picture/x")) == "uri_unsupported"
    assert code(intake, upload(f"telltale:sha256/{blobs.put(b'')}")) == "empty"
    assert code(intake, upload(f"telltale:sha256/{blobs.put(bytes(200_000))}")) == "too_large"
    assert code(intake, upload(f"telltale:sha256/{blobs.put(picture()[:60])}")) == "truncated"
    assert code(intake, upload(f"telltale:sha256/{blobs.put(picture(size=(8, 8)))}")) == "dimensions"  # fmt: skip


def test_stored_bytes_that_changed_are_refused(intake: Intake, blobs: ImageStore) -> None:
    sha256 = blobs.put(picture())
    blobs._write(blobs._blob(sha256), picture(shade=101))
    assert code(intake, upload(f"telltale:sha256/{sha256}")) == "hash_mismatch"


def test_nothing_refused_is_stored(intake: Intake, tmp_path) -> None:
    with serving(answer(b"no picture")) as server:
        code(intake, upload(server.url))
    assert not list((tmp_path / "images").rglob("*"))


def test_an_image_store_that_is_away_makes_the_batch_wait(intake: Intake, tmp_path) -> None:
    (tmp_path / "images").write_text("a file where the folder should be")
    with serving(answer(picture())) as server:
        items = [upload(server.url, 1), upload("http://10.0.0.1/", 2)]
        with pytest.raises(DependencyAway, match="image store"):
            intake.process(items)
        (tmp_path / "images").unlink()
        found = answers(intake, *items)
    assert [type(e) for e in found] == [ImageAdmitted, VerdictIssued]


def test_a_replay_is_marked_in_what_it_makes(intake: Intake, blobs: ImageStore) -> None:
    uri = f"telltale:sha256/{blobs.put(picture())}"
    admitted, rejected = answers(
        intake, upload(uri, 1, replay_id="again"), upload("file:///x", 2, replay_id="again")
    )
    assert admitted.replay_id == "again"
    assert (rejected.replay_id, rejected.verdict.provenance.replay_id) == ("again", "again")


def test_the_same_upload_gives_the_same_bytes(intake: Intake, blobs: ImageStore) -> None:
    items = [upload(f"telltale:sha256/{blobs.put(picture())}", 1), upload("file:///x", 2)]
    first, second = ([value_bytes(e) for e in answers(intake, *items)] for _ in range(2))
    assert first == second


def test_a_rejection_names_rules_and_versions(intake: Intake) -> None:
    (event,) = answers(intake, upload("file:///etc/passwd"))
    provenance = event.verdict.provenance
    assert provenance.policy == PolicyFile().current().version
    assert provenance.stages == {"intake": Intake.version}
    assert event.verdict.action == PolicyFile().current().actions["rejected"]
    assert "file" in event.verdict.explanation


@pytest.mark.parametrize("rule", ["judge", "link"])
def test_a_near_duplicate_is_linked_when_the_policy_says_so(
    rule: str, blobs: ImageStore, intake: Intake, tmp_path
) -> None:
    from importlib import resources

    import yaml

    shipped = yaml.safe_load((resources.files("telltale.policy") / "policy.yaml").read_text())
    rules = tmp_path / "policy.yaml"
    rules.write_text(yaml.safe_dump(shipped | {"near_duplicates": rule}))
    noise = np.random.default_rng(1).integers(0, 256, (40, 40, 3), np.uint8)
    out = io.BytesIO()
    Image.fromarray(noise).save(out, "PNG")
    (earlier,) = answers(intake, upload("file:///earlier", 9))
    asked = []

    def near(event: ImageUploaded, phash: str, bits: int) -> VerdictIssued:
        asked.append((event.image_id, phash, bits))
        return earlier

    stage = Intake(blobs, FETCH, LIMITS, PolicyFile(rules), "mini", near)
    (event,) = answers(stage, upload(f"telltale:sha256/{blobs.put(out.getvalue())}"))
    stage.close()
    if rule == "judge":
        assert isinstance(event, ImageAdmitted)
        assert not asked
    else:
        assert isinstance(event, VerdictIssued)
        assert (event.image_id, event.image.near_duplicate_of) == ("image-1", "image-9")
        assert event.verdict.reasons[-1] == "near_duplicate"
        assert asked[0][2] == shipped["near_duplicate_bits"]
