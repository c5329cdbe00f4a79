"""Faust's acknowledgements, as delivery uses them: by generation, and with a way to give back.

In: messages taken from a stream without automatic acknowledgement. Out: offsets marked as safe to
commit, in the order of the calls, and only while the group generation that delivered the message
lasts; a message given back is neither acknowledged nor waited for.
"""

from __future__ import annotations

import faust

from telltale.delivery.taken import Message


class Hold:
    """Acknowledges messages of one Faust app."""

    def __init__(self, app: faust.App) -> None:
        self._app = app

    @property
    def generation(self) -> int:
        """The group generation that this worker is in."""
        return int(self._app.consumer_generation_id)

    def acknowledge(self, message: Message) -> bool:
        """Mark the message as done. False, and given back, if its generation has passed."""
        if message.generation_id != self.generation:
            self.give_back(message)
            return False
        # ConsumerMessage.ack: its one reference is the agent's stream
        message.ack(self._app.consumer)  # type: ignore[attr-defined]
        return True

    def give_back(self, message: Message) -> None:
        """Leave the message to whoever holds the partition next."""
        # Faust waits for every message in this set before it lets go of partitions
        message.acked = True
        self._app.consumer.unacked.discard(message)
