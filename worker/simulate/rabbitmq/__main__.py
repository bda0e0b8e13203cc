"""`python -m worker.simulate.rabbitmq`: see to it that a broker can be had here, and start none.

`make` runs it before the tests, whose time limits leave no room for installing one.
"""

import asyncio
import os
import sys

from worker.simulate.rabbitmq.find import choose_broker
from worker.simulate.rabbitmq.home import NoBrokerError

_EX_UNAVAILABLE = 69


def main() -> int:
    """Prepare a broker; 0 if there will be one, 69 if not."""
    try:
        asyncio.run(choose_broker(os.environ, tell=print))
    except NoBrokerError as error:
        sys.stderr.write(f"{error}\n")
        return _EX_UNAVAILABLE
    return 0


if __name__ == "__main__":
    sys.exit(main())
