"""The stream as one would write it first: a plain Faust app, an agent a stage, an event at a time.

In: the same stages, topics and events as the product's workers. Out: the same answers while nothing
goes wrong. No batches, no overlap, no confirmed sends, acknowledgement as Faust does it by itself, the
model called on the event loop: events are lost when it dies. It is what ``ratio_to_naive`` compares with.
Several processes share the work, as several workers do. Each counts the events that a stage has finished,
under the name that a worker has for it, so that both are stopped by the same clock.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

import faust
from prometheus_client import start_http_server

from telltale.delivery import kafka
from telltale.delivery.metrics import Metrics
from telltale.events import Envelope, read_headers, read_value, value_bytes
from telltale.lab.stream_plan import NAIVE
from telltale.settings import Settings
from telltale.stages.contract import Answered, Item, Stage


def naive_app(stages: Sequence[Stage], settings: Settings, metrics: Metrics) -> faust.App:
    """One app with all agents. Security settings are not applied: it runs on the embedded stack."""
    app = faust.App(
        f"{settings.topic_prefix}{NAIVE}",
        broker=f"kafka://{kafka.bootstrap(settings)}",
        value_serializer="raw",
        key_serializer="raw",
        web_enabled=False,
        datadir=settings.home / "faust-naive",
        loghandlers=logging.getLogger().handlers,
        consumer_auto_offset_reset="earliest",
        # topics are there already, and no others may be made
        topic_disable_leader=True,
        topic_allow_declare=False,
    )
    for stage in stages:
        names = [kafka.topic_name(settings, event.topic) for event in stage.reads]
        app.agent(app.topic(*names, value_type=bytes), name=stage.name)(
            _agent(app, stage, settings, metrics)
        )
    return app


def _agent(
    app: faust.App, stage: Stage, settings: Settings, metrics: Metrics
) -> Callable[[Any], Any]:
    def answers(message: Any) -> list[tuple[str, bytes, bytes, list[tuple[str, bytes]]]]:
        event = read_value(kafka.plain_name(settings, message.topic), message.value)
        envelope = read_headers(dict(message.headers), message.value, event)
        item = Item(event, envelope)
        (outcome,) = stage.process([Item(event, envelope, stage.prepare(item))])
        if not isinstance(outcome, Answered):
            raise outcome.error
        now = datetime.now(UTC)
        return [
            (
                kafka.topic_name(settings, out.topic),
                out.image_id.encode(),
                value_bytes(out),
                Envelope.child(envelope, out, stage.name, stage.version, now).headers(),
            )
            for out in outcome.events
        ]

    async def agent(stream: Any) -> None:
        stage.open()
        async for event in stream.events():
            for topic, key, value, headers in answers(event.message):
                await app.topic(topic, value_type=bytes).send(key=key, value=value, headers=headers)
            metrics.count("telltale_outcomes_total", stage.name, "answered")

    return agent


def run_naive(stages: Sequence[Stage], settings: Settings) -> None:
    """Run until SIGTERM; what is counted is served on the worker's port."""
    metrics = Metrics()
    start_http_server(settings.worker_port, settings.worker_host, metrics.registry)
    app = naive_app(stages, settings, metrics)
    faust.Worker(
        app, loglevel=None, quiet=True, redirect_stdouts=False, override_logging=False
    ).execute_from_commandline()
