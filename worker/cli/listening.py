"""Why nobody can listen at an address, in words an operator can act upon."""

import errno
import os


def not_listening(error: OSError, host: str, port: int, *, keys: tuple[str, str]) -> str:
    """A sentence about an address that cannot be listened at; `keys` name what sets its host and its port."""
    if error.errno == errno.EADDRINUSE:
        return f"{keys[1]}: another process listens on port {port} already: end that one, or choose another port"
    # asyncio puts the address into `strerror`, as a tuple; a name that does not resolve has a negative number.
    why = os.strerror(error.errno) if error.errno and error.errno > 0 else error.strerror
    return f"{keys[0]}, {keys[1]}: cannot listen at {host}:{port}: {why}"
