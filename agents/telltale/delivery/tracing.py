"""OpenTelemetry spans, one an event a stage, continuing the uploader's ``traceparent``.

In: an event taken, and the error of one that is dead. Out: a finished span at the exporter, and the
envelope that the event's children descend from. An event that is given back leaves none: it is another
worker's. Without ``otlp_endpoint`` nothing is made and the uploader's ``traceparent`` is passed on as it
is. Only headers differ, never a value; a dead letter's are the original's.
"""

from __future__ import annotations

import time
from importlib.metadata import version

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import SpanLimits, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter
from opentelemetry.trace import Span, Status, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from telltale.delivery.taken import Taken
from telltale.events import Envelope

# of an error's text or stack trace: a collector refuses a request that is too large, and all spans in it
LONGEST_CHARS = 16_000


class Tracing:
    """Makes spans when there is somewhere to send them."""

    def __init__(self, exporter: SpanExporter | None) -> None:
        self._provider: TracerProvider | None = None
        self._context = TraceContextTextMapPropagator()
        if exporter is None:
            return
        resource = Resource({"service.name": "telltale", "service.version": version("telltale")})
        limits = SpanLimits(max_attribute_length=LONGEST_CHARS)
        self._provider = TracerProvider(resource=resource, span_limits=limits)
        self._provider.add_span_processor(BatchSpanProcessor(exporter))
        self._tracer = self._provider.get_tracer("telltale.delivery")

    def begin(self, taken: Taken, stage: str) -> Span | None:
        """The event's span, begun when it arrived; what is never ended is never sent."""
        if self._provider is None:
            return None
        return self._tracer.start_span(
            stage,
            context=self._context.extract(taken.trace),
            start_time=time.time_ns() - int((time.monotonic() - taken.at) * 1e9),
            attributes={
                "messaging.system": "kafka",
                "messaging.destination.name": taken.message.topic,
                "messaging.destination.partition.id": str(taken.message.partition),
                "messaging.kafka.offset": taken.message.offset,
                **_names(taken),
            },
        )

    def end(self, span: Span | None, error: Exception | None) -> None:
        """The event is answered, or dead of the error."""
        if span is None:
            return
        if error is not None:
            span.record_exception(error)
            span.set_attribute("error.type", type(error).__name__)
            problem = f"{type(error).__name__}: {error}"
            span.set_status(Status(StatusCode.ERROR, problem[:LONGEST_CHARS]))
        span.end()

    def close(self) -> None:
        """Send what is left."""
        if self._provider is not None:
            self._provider.shutdown()


def tracing(otlp_endpoint: str | None) -> Tracing:
    """Tracing towards an OTLP/HTTP address, or none."""
    return Tracing(OTLPSpanExporter(endpoint=otlp_endpoint) if otlp_endpoint else None)


def carried(envelope: Envelope, span: Span | None) -> Envelope:
    """The envelope that the event's children descend from, and their spans from this one."""
    if span is None:
        return envelope
    context = span.get_span_context()
    parent = f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"
    return envelope.model_copy(update={"traceparent": parent})


def _names(taken: Taken) -> dict[str, str]:
    names = {"telltale.image_id": taken.image_id}
    if taken.item is not None:
        names["telltale.event_id"] = str(taken.item.envelope.id)
    return {name: text for name, text in names.items() if text is not None}
