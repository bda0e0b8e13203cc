"""Acknowledgements of a channel's deliveries, in as few frames as may be: the broker writes down each frame it gets."""

from worker.broker.wire import frames


class Acks:
    """Which deliveries of a channel are to be acknowledged, and which are not settled yet.

    A frame may acknowledge all deliveries up to one (https://www.rabbitmq.com/docs/confirms#consumer-acks-multiple-parameter).
    So it is sent only for those below which nothing is left unsettled; what came between deliveries, as messages got
    from a queue do, counts as unsettled until it is settled here.
    """

    def __init__(self) -> None:
        self._last = 0
        self._unsettled: set[int] = set()
        self._pending: list[int] = []

    def came(self, tag: int) -> None:
        """A delivery came; tags count up from 1."""
        self._unsettled.update(range(self._last + 1, tag + 1))
        self._last = max(self._last, tag)

    def add(self, tag: int) -> bool:
        """Acknowledge a delivery with the next frames; whether it is the first of them."""
        self.settled(tag)
        self._pending.append(tag)
        return len(self._pending) == 1

    def settled(self, tag: int) -> None:
        """A delivery is settled, here or in another way."""
        self.came(tag)
        self._unsettled.discard(tag)

    def frames(self, channel: int) -> list[bytes]:
        """The frames that acknowledge what was added since; each goes for deliveries that are still the broker's."""
        pending, self._pending = self._pending, []
        first = min(self._unsettled, default=self._last + 1)
        together = [tag for tag in pending if tag < first]
        apart = [frames.ack(channel, tag) for tag in pending if tag > first]
        if not together:
            return apart
        return [frames.ack(channel, max(together), multiple=len(together) > 1), *apart]
