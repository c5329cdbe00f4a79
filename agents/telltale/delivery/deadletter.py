"""Dead letters: the message byte for byte, with the reason in added headers.

In: a message and why it could not be finished. Out: what to send to ``<topic>.dead``. The headers
added are text; the original headers keep their order, repeats and bytes before them.
"""

from __future__ import annotations

import traceback
from datetime import UTC, datetime

from telltale.delivery.taken import Dead, Message, Outgoing, header_pairs

PREFIX = "telltale.errors."
TOPIC, PARTITION, OFFSET = PREFIX + "topic", PREFIX + "partition", PREFIX + "offset"
STAGE, CLASS, MESSAGE = PREFIX + "stage", PREFIX + "class", PREFIX + "message"
STACKTRACE, ATTEMPTS = PREFIX + "stacktrace", PREFIX + "attempts"
FIRST_FAILED = PREFIX + "first-failed"

# a dead topic takes messages this much larger than the topic it belongs to
HEADROOM_BYTES = 64 * 1024
_MESSAGE_CHARS, _STACK_CHARS = 2_000, 16_000  # of up to 3 bytes each: within the headroom


def dead_letter(message: Message, stage: str, dead: Dead) -> Outgoing:
    """The message for ``<topic>.dead``."""
    error = dead.error
    stack = "".join(traceback.format_exception(error))
    first = datetime.fromtimestamp(dead.first_failed, UTC).isoformat().replace("+00:00", "Z")
    added = {
        TOPIC: message.topic,
        PARTITION: str(message.partition),
        OFFSET: str(message.offset),
        STAGE: stage,
        CLASS: type(error).__name__,
        MESSAGE: str(error)[:_MESSAGE_CHARS],
        STACKTRACE: stack[-_STACK_CHARS:],
        ATTEMPTS: str(dead.attempts),
        FIRST_FAILED: first,
    }
    headers = header_pairs(message)
    headers += [(name, text.encode(errors="replace")) for name, text in added.items()]
    return Outgoing(f"{message.topic}.dead", message.key, message.value, headers)


def original_headers(headers: list[tuple[str, bytes]]) -> list[tuple[str, bytes]]:
    """The headers that the message had before it died."""
    return [(name, value) for name, value in headers if not name.startswith(PREFIX)]
