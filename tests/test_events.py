"""Events: what is written can be read, what cannot be read names its field, repeats are known."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from uuid import UUID, uuid4

import pytest

from telltale import events, topics
from telltale.errors import EventUnreadable
from telltale.events import Envelope, ImageUploaded, read_headers, read_value, value_bytes

UPLOAD = ImageUploaded(
    image_id="a", uploaded_at=datetime(2026, 1, 1, tzinfo=UTC), uri="https://x.example/a.jpg"
)


def test_every_event_has_a_topic_of_its_own() -> None:
    assert [e.topic for e in events.EVENTS] == [t.name for t in topics.TOPICS]


def test_what_is_written_is_read_again() -> None:
    assert read_value(UPLOAD.topic, value_bytes(UPLOAD)) == UPLOAD


def test_a_newer_producer_can_be_read() -> None:
    value = {**json.loads(value_bytes(UPLOAD)), "version": "1.7", "colour": "blue"}
    assert read_value(UPLOAD.topic, json.dumps(value).encode()).image_id == "a"


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"version": "2.0"}, "version"),
        ({"uri": None}, "uri"),
        ({"image_id": ""}, "image_id"),
        ({"uploaded_at": "yesterday"}, "uploaded_at"),
        ({"uploaded_at": "2026-01-01T00:00:00"}, "uploaded_at"),
    ],
)
def test_what_cannot_be_read_names_the_field(change: dict, field: str) -> None:
    value = {**json.loads(value_bytes(UPLOAD)), **change}
    with pytest.raises(EventUnreadable) as error:
        read_value(UPLOAD.topic, json.dumps(value).encode())
    assert error.value.field == field


@pytest.mark.parametrize("value", [None, b"", b"{", b"[]", b"\xff\xfe", b"null", b'"x"'])
def test_bytes_that_are_no_event_are_unreadable(value) -> None:
    with pytest.raises(EventUnreadable):
        read_value(UPLOAD.topic, value)


def test_headers_follow_cloudevents_binary_mode() -> None:
    envelope = Envelope(
        id=uuid4(),
        type=UPLOAD.type_name,
        subject="a",
        time=UPLOAD.uploaded_at,
        traceparent="00-1-2-01",
    )
    headers = dict(envelope.headers())
    assert headers["ce_specversion"] == b"1.0"
    assert headers["content-type"] == b"application/json"
    assert headers["traceparent"] == b"00-1-2-01"
    assert read_headers(headers, value_bytes(UPLOAD), UPLOAD) == envelope


@pytest.mark.parametrize(
    ("name", "value"),
    [("ce_type", b"other"), ("ce_specversion", b"0.3"), ("ce_time", b"noon"), ("ce_id", b"\xff")],
)
def test_a_wrong_header_is_named(name: str, value: bytes) -> None:
    with pytest.raises(EventUnreadable, match=name):
        read_headers({name: value}, value_bytes(UPLOAD), UPLOAD)


def test_without_an_id_the_same_bytes_are_the_same_event() -> None:
    first = read_headers({}, value_bytes(UPLOAD), UPLOAD).id
    assert first == read_headers({}, value_bytes(UPLOAD), UPLOAD).id
    other = UPLOAD.model_copy(update={"image_id": "b"})
    assert first != read_headers({}, value_bytes(other), other).id


def test_a_repeat_carries_the_id_of_its_original_and_a_replay_does_not() -> None:
    parent = UUID(int=1)
    once = events.derived_id(parent, "detect", "1", None, "t")
    assert once == events.derived_id(parent, "detect", "1", None, "t")
    others = [
        events.derived_id(UUID(int=2), "detect", "1", None, "t"),
        events.derived_id(parent, "judge", "1", None, "t"),
        events.derived_id(parent, "detect", "2", None, "t"),
        events.derived_id(parent, "detect", "1", "r", "t"),
    ]
    assert len({once, *others}) == 5
