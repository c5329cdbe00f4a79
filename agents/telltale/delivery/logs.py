"""Structured logs, one form for ours and the libraries'.

In: ``Settings``, and the events that a line is about. Out: lines on standard error, as JSON or for a
console, with what is bound to the context: a stage always, and with one event its topic, partition,
offset, image id and trace id; with a batch how many they are and the first image ids.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar

import structlog

from telltale.delivery.taken import Taken
from telltale.settings import Settings

# these speak of every rebalance, reconnect and try; what matters of it is in our own lines
_TALKATIVE = ("faust", "mode", "aiokafka", "kafka", "opentelemetry")
# of a batch; the rest is counted
NAMED = 8
# beside structlog's own, which take several times as long to bind: this is done for every event
_about: ContextVar[Mapping[str, object] | None] = ContextVar("about", default=None)


class _Seldom(logging.Filter):
    """Lets the same line of a library through once in ``EVERY_S``.

    While a broker is away the client says so twenty times a second, for each of its tasks; while a
    collector of traces is, its client does at every try.
    """

    EVERY_S = 10.0

    def __init__(self) -> None:
        super().__init__()
        self._said: dict[tuple[str, str], float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        if record.name.split(".")[0] not in _TALKATIVE:
            return True
        line = (record.name, str(record.msg))
        if record.created - self._said.get(line, 0.0) < self.EVERY_S:
            return False
        self._said[line] = record.created
        return True


def configure_logs(settings: Settings) -> None:
    """Set up structlog and the standard library's root logger."""
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        _say_about,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    if settings.log_format == "json":
        shared.append(structlog.processors.format_exc_info)
    last: structlog.typing.Processor = (
        structlog.processors.JSONRenderer()
        if settings.log_format == "json"
        else structlog.dev.ConsoleRenderer(
            colors=sys.stderr.isatty(),
            # the richer one prints local variables, passwords among them
            exception_formatter=structlog.dev.plain_traceback,
        )
    )
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, last],
        )
    )
    handler.addFilter(_Seldom())
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(settings.log_level)
    for name in _TALKATIVE:
        logging.getLogger(name).setLevel(max(logging.WARNING, root.level))


@contextmanager
def about(events: Sequence[Taken]) -> Iterator[None]:
    """What is logged within, here or in a task or thread that is given this context, is about these."""
    token = _about.set(fields(events))
    try:
        yield
    finally:
        _about.reset(token)


def _say_about(
    _logger: object, _method: str, line: structlog.typing.EventDict
) -> structlog.typing.EventDict:
    """A processor: what the line says itself stands."""
    return {**(_about.get() or {}), **line}


def fields(events: Sequence[Taken]) -> dict[str, object]:
    """What a line says of the events that it is about."""
    if len(events) != 1:
        named = [taken.image_id for taken in events[:NAMED]]
        return {"batch_events": len(events), "image_ids": named}
    (taken,) = events
    return {
        "topic": taken.message.topic,
        "partition": taken.message.partition,
        "offset": taken.message.offset,
        "image_id": taken.image_id,
        "trace_id": _trace_id(taken.trace.get("traceparent")),
    }


def _trace_id(traceparent: str | None) -> str | None:
    """The 32 hex digits of a W3C ``traceparent``."""
    parts = (traceparent or "").split("-")
    return parts[1] if len(parts) == 4 else None
