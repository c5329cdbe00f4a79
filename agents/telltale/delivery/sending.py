"""Confirmed sends through a Faust app's producer.

In: messages. Out: nothing until the broker has them all; one that it will never take, because it
is too large, is returned. While the broker is away this waits, reporting it once a while.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

import faust
from aiokafka.errors import MessageSizeTooLargeError, RecordListTooLargeError
from faust.exceptions import ProducerSendError

from telltale.delivery.backoff import away_pause_s
from telltale.delivery.taken import Outgoing

TOO_LARGE = (MessageSizeTooLargeError, RecordListTooLargeError)
SLOW_S = 5.0  # a healthy broker confirms within milliseconds


class Sender:
    """Sends through one app's producer. ``away`` is told why a broker does not confirm."""

    def __init__(self, app: faust.App, away: Callable[[str | None], None]) -> None:
        self._app, self._away = app, away

    async def send(self, messages: Sequence[Outgoing]) -> list[tuple[Outgoing, Exception] | None]:
        """Send all; one entry a message: None when confirmed, or the message with its error."""
        futures = [await self._start(message) for message in messages]
        waiting: set[asyncio.Future[object]] = {f for f in futures if isinstance(f, asyncio.Future)}
        while waiting:
            _, waiting = await asyncio.wait(waiting, timeout=SLOW_S)
            if waiting:
                self._away(f"{len(waiting)} messages unconfirmed for {SLOW_S:g} s")
        results = [self._result(m, f) for m, f in zip(messages, futures, strict=True)]
        refused = next((f[1] for f in results if f and not isinstance(f[1], TOO_LARGE)), None)
        self._away(None if refused is None else f"{type(refused).__name__}: {refused}")
        return results

    async def pause(self, failures: int) -> None:
        """Wait before sending again what was refused."""
        await asyncio.sleep(away_pause_s(failures, None))

    async def _start(self, message: Outgoing) -> asyncio.Future[object] | Exception:
        try:
            # the producer's own send: the second await, on what it returns, is the confirmation
            future: asyncio.Future[object] = await self._app.producer.send(
                message.topic, message.key, message.value, None, None, message.headers
            )
        except ProducerSendError as error:
            # Faust wraps what the client says, such as that the message is too large
            return error.__cause__ if isinstance(error.__cause__, Exception) else error
        return future

    def _result(
        self, message: Outgoing, future: asyncio.Future[object] | Exception
    ) -> tuple[Outgoing, Exception] | None:
        error = future if isinstance(future, Exception) else future.exception()
        return (message, error) if isinstance(error, Exception) else None
