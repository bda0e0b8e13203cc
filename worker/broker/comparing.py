"""How the broker differs from what the settings ask for, compared as far as its interfaces go."""

import asyncio

from worker.broker import declare
from worker.broker.differences import Comparison, compare
from worker.broker.management import MEND, ManagementUnavailable
from worker.broker.reach import reached
from worker.broker.topology import topology_of
from worker.settings import Settings


async def compared(settings: Settings, *, within_s: float | None = None) -> Comparison:
    """Through the management API if it answers `within_s`, else over AMQP: that tells neither bindings nor policies.

    Changes nothing. Raises `BrokerAway`.
    """
    topology = topology_of(settings)
    try:
        async with asyncio.timeout(within_s):
            return await compare(topology, settings)
    except ManagementUnavailable as error:
        why, mend = str(error), error.mend
    except TimeoutError:
        why, mend = f"no answer within {within_s:g} s", MEND
    not_compared = [f"bindings and policies, for lack of the management API ({why})"]
    async with reached(settings.amqp_url) as connection:
        return Comparison(await declare.compare(connection, topology), not_compared, mend)
