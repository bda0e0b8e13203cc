"""Why nobody can listen at an address, in words an operator can act upon."""

import errno
import os


def not_listening(error: OSError, host: str, port: int, *, keys: tuple[str, str]) -> str:
    """A sentence about an address that cannot be listened at; `keys` name what sets its host and its port."""
    if error.errno == errno.EADDRINUSE:
        return f"{keys[1]}: another process listens on port {port} already: end that one, or choose another port"
    # asyncio puts the address into `strerror`, as a tuple; a name that does not resolve has a negative number.
    # Newer Pythons give no number at all where no address is one of this machine's.
    number = errno.EADDRNOTAVAIL if error.errno is None else error.errno
    why = os.strerror(number) if number > 0 else error.strerror
    return f"{keys[0]}, {keys[1]}: cannot listen at {host}:{port}: {why}"
