"""HubSpot's limits of requests: in ten seconds, a day, and of searches in a second."""

from collections import deque
from collections.abc import Callable
from typing import Final

from worker.simulate.hubspot.trouble import Trouble

WINDOW_S: Final = 10.0


class Limits:
    """Counts the requests, and says which limit another one would exceed."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self.today = 0
        self.refused = 0
        self._clock = clock
        self._recent: deque[float] = deque()
        self._searches: deque[float] = deque()

    def exceeded(self, trouble: Trouble, *, is_search: bool) -> str:
        """The policy that stands in the way of a request, or an empty text; searches have a limit of their own."""
        recent, most, window_s = (
            (self._searches, trouble.searches_per_s, 1.0) if is_search else (self._recent, trouble.per_ten_s, WINDOW_S)
        )
        self._forget(recent, window_s)
        if self.today >= trouble.per_day:
            return self._refuse("DAILY")
        if len(recent) >= most:
            return self._refuse("SECONDLY" if is_search else "TEN_SECONDLY_ROLLING")
        recent.append(self._clock())
        self.today += 1
        return ""

    def headers(self, trouble: Trouble) -> dict[str, str]:
        """What every answer tells but that of a search."""
        return {
            "X-HubSpot-RateLimit-Max": str(trouble.per_ten_s),
            "X-HubSpot-RateLimit-Remaining": str(max(0, trouble.per_ten_s - len(self._recent))),
            "X-HubSpot-RateLimit-Interval-Milliseconds": str(round(WINDOW_S * 1000)),
            "X-HubSpot-RateLimit-Daily": str(trouble.per_day),
            "X-HubSpot-RateLimit-Daily-Remaining": str(max(0, trouble.per_day - self.today)),
        }

    def _refuse(self, policy: str) -> str:
        self.refused += 1
        return policy

    def _forget(self, times: deque[float], window_s: float) -> None:
        while times and times[0] <= self._clock() - window_s:
            times.popleft()
