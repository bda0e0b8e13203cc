"""Tells people: by Apprise, so to Slack, Teams, PagerDuty, Opsgenie, e-mail, Telegram and a hundred more.

The URLs are secrets, one after the other in AFTERCALL_ALERTS_URLS; `ops=slack://…` gives one a name that rules use.
https://appriseit.com/services/ lists what there is.
"""

import asyncio
import logging
import re
from collections.abc import Iterable, Mapping
from contextlib import suppress
from functools import reduce
from importlib.util import find_spec
from typing import Any, Final
from urllib.parse import unquote

from consumers.alerts.groups import What
from consumers.alerts.texts import Announcement
from worker.operate.threads import Threads
from worker.settings import Secret, SettingsError

KEY: Final = "AFTERCALL_ALERTS_URLS"
INSTALL: Final = "alerts are sent by Apprise, which is not installed: pip install 'aftercall[alerts]'"
SEND_S: Final = 10.0
THREADS: Final = 8
BETWEEN: Final = re.compile(r"\s*,\s*(?=(?:[\w-]+=)?[\w+.-]+://)|\s+")
NAMED: Final = re.compile(r"(?:(?P<name>[\w-]+)=)?(?P<url>[\w+.-]+://.*)")
PART: Final = re.compile(r"[^/:@?&=#]{6,}")
BEYOND_HOST: Final = re.compile(r"[/?#]")
UNNAMED: Final = "default"
"""What the targets without a name are called, and what a rule tells that names none."""
KINDS: Final[Mapping[What, str]] = {"raised": "failure", "reminded": "warning", "over": "success"}


class NotTold(Exception):
    """A target took no message; the text says why, without what is secret of its URL."""


def urls_of(secret: Secret) -> dict[str, str]:
    """The URLs by label: the name, and `name/2` for the second of that name. Raises `ValueError`, telling no secret."""
    labelled: dict[str, str] = {}
    for number, text in enumerate(filter(None, BETWEEN.split(secret.reveal().strip())), start=1):
        match = NAMED.fullmatch(text)
        if match is None:
            raise ValueError(f"{KEY}: number {number} is no URL: they read slack://…, or with a name ops=slack://…")
        name = match["name"] or UNNAMED
        earlier = sum(label.partition("/")[0] == name for label in labelled)
        labelled[f"{name}/{earlier + 1}" if earlier else name] = match["url"]
    return labelled


def labels_of(names: Iterable[str], urls: Iterable[str]) -> list[str]:
    """The labels among `urls` that belong to the names of a rule; to none, those without a name."""
    wanted = set(names) or {UNNAMED}
    return [label for label in urls if label.partition("/")[0] in wanted]


def missing(secret: Secret) -> str | None:
    """What is wrong before anything is sent: unreadable URLs, or Apprise is not installed."""
    try:
        urls = urls_of(secret)
    except ValueError as error:
        return str(error)
    return INSTALL if urls and find_spec("apprise") is None else None


class Notifier:
    """Sends messages, each to one target, in threads; close it with `close`. Apprise is loaded at the first use."""

    def __init__(self, urls: Secret, *, send_s: float = SEND_S) -> None:
        self._urls = urls
        self._send_s = send_s
        self._labels: list[str] = []
        self._threads: Threads | None = None

    def labels(self) -> list[str]:
        """The targets that there are now; while they cannot be read, as amid a rotation, those that there were."""
        with suppress(ValueError):
            self._labels = list(urls_of(self._urls))
        return self._labels

    async def check(self) -> None:
        """Raise `SettingsError` for URLs that Apprise does not know, each by its label."""
        if wrong := [
            label for label in self.labels() if await self._run(lambda label=label: self._target(label)) is None
        ]:
            raise SettingsError(
                [f"{KEY}: {label}: Apprise knows no such URL (appriseit.com/services)" for label in wrong]
            )

    async def tell(self, label: str, announcement: Announcement) -> None:
        """Send a message. Raises `NotTold`; what comes too late for that may have been sent all the same."""
        try:
            async with asyncio.timeout(self._send_s):
                trouble = await self._run(lambda: self._send(label, announcement))
        except TimeoutError:
            raise NotTold(f"it did not answer within {self._send_s:g} s") from None
        if trouble:
            raise NotTold(trouble)

    def close(self) -> None:
        """End the threads; one that still sends is not waited for."""
        if self._threads is not None:
            self._threads.stop()

    async def _run(self, function: Any) -> Any:
        if self._threads is None:
            self._threads = Threads("notifier", THREADS)
        return await self._threads.run(function)

    def _target(self, label: str) -> Any:
        """Apprise with one target; None for a URL that it does not know."""
        apprise = _apprise()
        target = apprise.Apprise()
        return target if target.add(urls_of(self._urls)[label]) else None

    def _send(self, label: str, announcement: Announcement) -> str:
        """What went wrong, empty if nothing did."""
        try:
            url, target = urls_of(self._urls)[label], self._target(label)
        except (KeyError, ValueError):
            return f"{KEY} has no {label} any more"
        if target is None:
            return "Apprise knows no such URL"
        result = target.notify(
            body=announcement.body,
            title=announcement.title,
            notify_type=KINDS[announcement.what],
            body_format="text",
        )
        told = " ".join(entry.message for entry in result.logs())
        return "" if result else _masked(told, url)[:300] or "it was not taken"


def _masked(text: str, url: str) -> str:
    """`text` without the parts of a URL, for some services have a key in the place of the host; names of hosts stay."""
    told = url.partition("://")[2]
    host = BEYOND_HOST.split(told)[0].rpartition("@")[2].partition(":")[0]
    parts = {part for each in PART.findall(told) for part in (each, unquote(each))} - ({host} if "." in host else set())
    return reduce(lambda left, part: left.replace(part, "…"), parts, text)


def _apprise() -> Any:
    """The library. Its log lines are in its results, which say whose they are."""
    try:
        import apprise  # noqa: PLC0415  # half a second, and an extra
    except ImportError as error:
        raise SettingsError([INSTALL]) from error
    log = logging.getLogger("apprise")
    log.propagate = False
    log.addHandler(logging.NullHandler())  # without any, Python would print the lines, and some quote the URL
    return apprise
