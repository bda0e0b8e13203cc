"""One channel of a wire: whole methods with their content, out of frames."""

from abc import ABC, abstractmethod
from typing import Any

from worker.broker.wire.frames import HEADER, METHOD
from worker.broker.wire.properties import read_header


class Lane(ABC):
    """What is taken from the frames of one channel, between those that stay aiormq's.

    A method with content goes on in a header frame and body frames, between which no other frame of its channel comes.
    """

    def __init__(self) -> None:
        self._method: Any = None
        self._told: dict[str, Any] = {}
        self._body: list[bytes] = []
        self._missing = 0

    def take(self, kind: int, buffer: bytes, at: int, until: int) -> bool:
        """Take a frame whose payload is `buffer[at:until]`; false if it is aiormq's."""
        if kind == METHOD:
            self._method = None
            return self.on_method(buffer[at : at + 4], buffer, at + 4)
        if self._method is None:
            return False
        if kind == HEADER:
            self._missing, self._told = read_header(buffer[at:until])
            self._body = []
        else:
            self._body.append(buffer[at:until])
            self._missing -= until - at
        if self._missing <= 0:
            method, self._method = self._method, None
            self.on_content(method, self._told, self._body[0] if len(self._body) == 1 else b"".join(self._body))
        return True

    def flush(self) -> None:  # noqa: B027  # most have nothing
        """Send what waits for the next turn of the loop."""

    @abstractmethod
    def on_method(self, name: bytes, buffer: bytes, at: int) -> bool:
        """Take a method whose arguments begin there; false if it is not one of this lane's.

        What is set as `_method` is one with content, which is taken in turn.
        """

    @abstractmethod
    def on_content(self, method: Any, told: dict[str, Any], body: bytes) -> None:
        """Take a method's content, which is whole now."""
