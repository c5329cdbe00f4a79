"""Traces: one span an event a stage, in the uploader's trace; only headers differ."""

from __future__ import annotations

import time
from types import SimpleNamespace
from uuid import UUID

from harness import WHEN
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from telltale.delivery.taken import Taken
from telltale.delivery.tracing import Tracing, tracing
from telltale.events import Envelope

TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
UPLOAD = Envelope(
    id=UUID(int=1), type="t", subject="i1", time=WHEN, traceparent=f"00-{TRACE}-{PARENT}-01"
)
MESSAGE = SimpleNamespace(topic="images.uploaded", partition=2, offset=7)


def taken() -> Taken:
    return Taken(MESSAGE, time.monotonic() - 0.5)


def test_a_span_continues_the_uploaders_trace_and_children_descend_from_it() -> None:
    exporter = InMemorySpanExporter()
    traces = Tracing(exporter)
    child = traces.record(UPLOAD, taken(), "intake")
    traces.close()
    (span,) = exporter.get_finished_spans()
    assert span.name == "intake"
    assert f"{span.context.trace_id:032x}" == TRACE
    assert f"{span.parent.span_id:016x}" == PARENT
    assert child.traceparent == f"00-{TRACE}-{span.context.span_id:016x}-01"
    assert child.id == UPLOAD.id
    assert span.attributes["messaging.kafka.offset"] == 7
    assert 0.4e9 < span.end_time - span.start_time < 5e9


def test_without_an_endpoint_the_uploaders_trace_is_passed_on_untouched() -> None:
    assert tracing(None).record(UPLOAD, taken(), "intake") is UPLOAD
