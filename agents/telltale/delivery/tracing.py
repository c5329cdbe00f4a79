"""OpenTelemetry spans, one an event a stage, continuing the uploader's ``traceparent``.

In: an event's envelope and when it was taken. Out: a finished span at the exporter, and the
envelope that the event's children descend from. Without ``otlp_endpoint`` nothing is made and the
uploader's ``traceparent`` is passed on as it is. Only headers differ, never a value.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from importlib.metadata import version

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from telltale.delivery.taken import Taken
from telltale.events import Envelope


class Tracing:
    """Makes spans when there is somewhere to send them."""

    def __init__(self, exporter: SpanExporter | None) -> None:
        self._provider: TracerProvider | None = None
        self._context = TraceContextTextMapPropagator()
        if exporter is None:
            return
        resource = Resource({"service.name": "telltale", "service.version": version("telltale")})
        self._provider = TracerProvider(resource=resource)
        self._provider.add_span_processor(BatchSpanProcessor(exporter))
        self._tracer = self._provider.get_tracer("telltale.delivery")

    def record(self, envelope: Envelope, taken: Taken, stage: str) -> Envelope:
        """A span from the event's arrival until now; the envelope carrying it to children."""
        if self._provider is None:
            return envelope
        end_ns = time.time_ns()
        start_ns = end_ns - int((time.monotonic() - taken.at) * 1e9)
        carrier = _carrier(envelope)
        span = self._tracer.start_span(
            stage,
            context=self._context.extract(carrier),
            start_time=start_ns,
            attributes={
                "messaging.system": "kafka",
                "messaging.destination.name": taken.message.topic,
                "messaging.destination.partition.id": str(taken.message.partition),
                "messaging.kafka.offset": taken.message.offset,
                "telltale.image_id": envelope.subject,
                "telltale.event_id": str(envelope.id),
            },
        )
        span.end(end_ns)
        context = span.get_span_context()
        parent = f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"
        return envelope.model_copy(update={"traceparent": parent})

    def close(self) -> None:
        """Send what is left."""
        if self._provider is not None:
            self._provider.shutdown()


def tracing(otlp_endpoint: str | None) -> Tracing:
    """Tracing towards an OTLP/HTTP address, or none."""
    return Tracing(OTLPSpanExporter(endpoint=otlp_endpoint) if otlp_endpoint else None)


def _carrier(envelope: Envelope) -> Mapping[str, str]:
    pairs = {"traceparent": envelope.traceparent, "tracestate": envelope.tracestate}
    return {name: value for name, value in pairs.items() if value}
