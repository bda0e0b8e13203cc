"""What a command's exit code says; the larger ones are those of sysexits.h."""

from typing import Final

DONE: Final = 0
FOUND: Final = 1
"""The check found something."""
USAGE: Final = 64
"""Usage or configuration."""
UNREACHABLE: Final = 69
"""The broker or an API could not be reached."""
BUG: Final = 70
TRY_AGAIN: Final = 75


class WrongArguments(Exception):
    """What was typed after a command cannot be used; each argument is a sentence that says why, and what can be."""


class Unreachable(Exception):
    """The broker or an API did not answer a command; the text says which, why, and what to do."""
