"""Structured logs, one form for ours and the libraries'.

In: ``Settings``. Out: lines on standard error, as JSON or for a console, with what is bound to the
context (stage, topic, partition, offset, image id, trace id).
"""

from __future__ import annotations

import logging
import sys

import structlog

from telltale.settings import Settings

# these speak of every rebalance and reconnect; what matters of it is in our own lines
_TALKATIVE = ("faust", "mode", "aiokafka", "kafka")


class _Seldom(logging.Filter):
    """Lets the same line of a library through once in ``EVERY_S``.

    While a broker is away the client says so twenty times a second, for each of its tasks.
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
