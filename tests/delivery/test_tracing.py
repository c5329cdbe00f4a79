"""Traces: one span an event a stage, in the uploader's trace; only headers differ."""

from __future__ import annotations

import time
from types import SimpleNamespace

import pytest
from harness import Cluster, Record, upload
from opentelemetry.proto.trace.v1.trace_pb2 import Status
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from tests.collector import collecting, ids, said

from telltale.delivery.taken import Taken, read
from telltale.delivery.tracing import LONGEST_CHARS, Tracing, carried, tracing
from telltale.errors import EventFailed

TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
TRACEPARENT = f"00-{TRACE}-{PARENT}-01"


def taken() -> Taken:
    sent = upload("i1", traceparent=TRACEPARENT)
    message = SimpleNamespace(
        topic="images.uploaded", partition=2, offset=7,
        key=sent.key, value=sent.value, headers=sent.headers,
    )  # fmt: skip
    return read(message, "images.uploaded", time.monotonic() - 0.5)


def test_a_span_continues_the_uploaders_trace_and_children_descend_from_it() -> None:
    exporter, event = InMemorySpanExporter(), taken()
    traces = Tracing(exporter)
    begun = traces.begin(event, "intake")
    child = carried(event.item.envelope, begun)
    traces.end(begun, None)
    traces.close()
    (span,) = exporter.get_finished_spans()
    assert span.name == "intake"
    assert f"{span.context.trace_id:032x}" == TRACE
    assert f"{span.parent.span_id:016x}" == PARENT
    assert span.status.is_unset
    assert child.traceparent == f"00-{TRACE}-{span.context.span_id:016x}-01"
    assert child.id == event.item.envelope.id
    assert span.attributes["messaging.kafka.offset"] == 7
    assert 0.4e9 < span.end_time - span.start_time < 5e9


def test_without_an_endpoint_the_uploaders_trace_is_passed_on_untouched() -> None:
    event, traces = taken(), tracing(None)
    span = traces.begin(event, "intake")
    traces.end(span, EventFailed("no matter"))
    assert carried(event.item.envelope, span) is event.item.envelope


def test_an_error_of_any_length_makes_a_span_that_a_collector_takes() -> None:
    exporter = InMemorySpanExporter()
    traces = Tracing(exporter)
    traces.end(traces.begin(taken(), "intake"), EventFailed("x" * 5_000_000))
    traces.close()
    (span,) = exporter.get_finished_spans()
    assert len(span.status.description) == LONGEST_CHARS
    assert all(len(str(v)) <= LONGEST_CHARS for v in span.events[0].attributes.values())


@pytest.fixture(scope="module")
def ended(stack, tmp_path_factory):
    """A worker's spans and messages: an event answered, one failed, one that cannot be read, one too large."""
    cluster = Cluster(stack.kafka_bootstrap, tmp_path_factory.mktemp("traces"))
    sent = {
        "good": upload("good", traceparent=TRACEPARENT),
        "fails": upload("fails", "fail", TRACEPARENT),
        "long": upload("long", "long", TRACEPARENT),
        "unread": Record(b"unread", b"\xff{", (("traceparent", TRACEPARENT.encode()),)),
    }
    cluster.send(*sent.values())
    with collecting() as collector, cluster.worker("batched", **collector.variables) as worker:
        (answer,) = cluster.answers({"good"})
        letters = {r.key.decode(): r for r in cluster.read("images.uploaded.dead", least=3)}
        worker.process.terminate()  # what is left is sent before it ends
        assert worker.ended() == 0, worker.text
        spans = {image: collector.of(image, 1, within_s=1) for image in sent}
    return SimpleNamespace(sent=sent, spans=spans, answer=answer, letters=letters)


def test_every_event_that_ended_has_one_span_in_the_trace_of_its_upload(ended) -> None:
    for spans in ended.spans.values():
        (span,) = spans
        assert span.name == "batched"
        assert (span.trace_id.hex(), span.parent_span_id.hex()) == (TRACE, PARENT)
    (good,) = ended.spans["good"]
    assert good.status.code == Status.STATUS_CODE_UNSET
    assert ids(ended.answer.header("traceparent")) == (TRACE, good.span_id.hex())


@pytest.mark.parametrize(
    ("image", "error", "problem"),
    [
        ("fails", "EventFailed", "asked to fail"),
        ("unread", "EventUnreadable", "value: "),
        ("long", "EventFailed", "does not take a message of"),
    ],
)
def test_a_dead_letter_is_a_span_with_the_error_and_keeps_its_own_headers(
    ended, image, error, problem
) -> None:
    (span,) = ended.spans[image]
    assert span.status.code == Status.STATUS_CODE_ERROR
    assert span.status.message.startswith(f"{error}: ")
    assert problem in span.status.message
    assert said(span, "error.type") == error
    (event,) = span.events
    assert event.name == "exception"
    told = {a.key: a.value.string_value for a in event.attributes}
    assert told["exception.type"].endswith(error)
    assert problem in told["exception.message"]
    assert ended.letters[image].original == ended.sent[image].content
