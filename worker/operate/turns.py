"""Going on one at a time, with a look at the sockets in between."""

import asyncio
from collections import deque


class Turns:
    """Lets tasks go on in the order in which they ask, one in a round of the event loop, and never more than two."""

    def __init__(self) -> None:
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._is_taken = False

    async def next(self) -> None:
        """Wait for a turn; the first of a round has it at once."""
        loop = asyncio.get_running_loop()
        if self._is_taken:
            turn = loop.create_future()
            self._waiting.append(turn)
            await turn
        else:
            self._is_taken = True
            loop.call_soon(self._pass_on)

    def _pass_on(self) -> None:
        while self._waiting and self._waiting[0].done():  # cancelled
            self._waiting.popleft()
        self._is_taken = bool(self._waiting)
        if self._is_taken:
            self._waiting.popleft().set_result(None)
            asyncio.get_running_loop().call_soon(self._pass_on)
