"""An OpenTelemetry collector as far as a test needs one: takes OTLP/HTTP, keeps the spans."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span


class Collector:
    """Listens on loopback. ``variables`` point a worker at it."""

    def __init__(self) -> None:
        self.spans: list[Span] = []
        kept = self.spans

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                taken = self.path == "/v1/traces"
                if taken:
                    request = ExportTraceServiceRequest.FromString(body)
                    kept.extend(
                        span
                        for resource in request.resource_spans
                        for scope in resource.scope_spans
                        for span in scope.spans
                    )
                self.send_response(200 if taken else 404)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)

    @property
    def variables(self) -> dict[str, str]:
        address = f"http://127.0.0.1:{self.server.server_port}/v1/traces"
        return {"TELLTALE_OTLP_ENDPOINT": address, "NO_PROXY": "127.0.0.1"}

    def of(self, image_id: str, count: int, within_s: float = 60.0) -> list[Span]:
        """The spans of an image, once there are so many; a worker sends every five seconds."""
        deadline = time.monotonic() + within_s
        while (
            len(found := [s for s in self.spans if said(s, "telltale.image_id") == image_id])
            < count
        ):
            seen = [(s.name, said(s, "telltale.image_id")) for s in self.spans]
            assert time.monotonic() < deadline, f"{count} spans of {image_id}; there are {seen}"
            time.sleep(0.1)
        return found


def said(span: Span, name: str) -> str | None:
    """One of a span's attributes."""
    return next((a.value.string_value for a in span.attributes if a.key == name), None)


def ids(traceparent: str) -> tuple[str, str]:
    """The trace id and the span id in a ``traceparent``."""
    _, trace_id, span_id, _ = traceparent.split("-")
    return trace_id, span_id


@contextmanager
def collecting() -> Iterator[Collector]:
    """A collector that listens until the end."""
    collector = Collector()
    serve: Callable[[], None] = collector.server.serve_forever
    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield collector
    finally:
        collector.server.shutdown()
        collector.server.server_close()
        thread.join()
