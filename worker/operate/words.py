"""What libraries say of their errors, for people: without the numbers, tuples and addresses in memory of Python's."""

import re
from typing import Final

# As in `[Errno 111] Connect call failed ('127.0.0.1', 5672)`, ` ssl:default` and `<Connection.Close object at 0x7f…>`.
NOISE: Final = re.compile(r"\[Errno -?\d+\] | ssl:default| object at 0x[0-9a-f]+")
ADDRESS: Final = re.compile(r"\('([^']*)', (\d+)[^)]*\)")


def in_words(error: BaseException) -> str:
    """What an error says, or its class if it says nothing."""
    return ADDRESS.sub(r"\1:\2", NOISE.sub("", str(error))) or type(error).__name__
