"""The parts of the alerts: what the rules see of each call is written down, and one process of several tells of it."""

import asyncio
import random
import time
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Final

from consumers.alerts.rounds import Watch
from consumers.alerts.rules import Rule
from consumers.alerts.sightings import keep
from consumers.outcomes import DatabaseAway
from worker.broker.counts import counts
from worker.broker.session import told_as_closed
from worker.broker.topology import subscriber_queue
from worker.cli.roles.subscribers.alerts.teller import LOG, Teller
from worker.cli.roles.subscribers.keeping import Keeping
from worker.cli.running.process import Process
from worker.clients.ledger.alert_book import AlertBook, open_alert_book
from worker.clients.notify import Notifier, labels_of
from worker.operate.telemetry import logger

if TYPE_CHECKING:
    from worker.broker.consuming import Consuming

PRUNE_EVERY_S: Final = 3600.0


async def start_alerts(process: Process) -> None:
    """Write down what the rules see, and tell of it. Raises `SettingsError` for a URL that Apprise does not know."""
    settings, alerts = process.settings, process.settings.alerts
    book = await process.stack.enter_async_context(open_alert_book(settings))
    notifier = Notifier(settings.alerts_urls)
    process.stack.callback(notifier.close)
    await notifier.check()
    keeping = Keeping("alerts", keep=partial(keep, rules=alerts.in_force, record=book.record), answers=book.reach)
    consuming = process.consume(subscriber_queue("alerts"), keeping.handle, then=keeping.reach)
    keeping.consuming = consuming

    def targets(rule: Rule) -> list[str]:
        return [LOG, *labels_of(rule.to, notifier.labels())]

    watch = Watch(alerts, targets, [account.name for account in settings.accounts])
    teller = Teller(book, notifier, watch, is_caught_up=partial(is_caught_up, consuming))
    process.run(teller.run(), "teller of alerts")
    process.run(_prune_now_and_then(book, alerts.keep_s), "pruning of alerts")


async def is_caught_up(consuming: "Consuming") -> bool:
    """Whether nothing waits in the queue, so that what is not heard of did not happen."""
    connection = consuming.session.connection
    if connection is None or not consuming.session.ready.is_set():
        return False
    try:
        with told_as_closed():
            found = await counts(connection, [consuming.queue])
    except Exception:  # noqa: BLE001  # whatever a dying connection throws: the broker has not said that it is
        return False
    return consuming.queue in found and found[consuming.queue].ready == 0


async def _prune_now_and_then(book: AlertBook, keep_s: float) -> None:
    while True:
        with suppress(DatabaseAway):
            while forgotten := await book.prune(time.time() - keep_s):
                logger().info("alerts.pruned", calls=forgotten)
        await asyncio.sleep(PRUNE_EVERY_S * random.uniform(0.9, 1.1))  # noqa: S311  # so that several processes part
