"""Words that are not ours: a server's answer, an exception's text. They may repeat what was said in a call, or by whom.

Wherever a reason quotes them they stand between `“` and `”`. Dead letters and retries carry them, the log does not.
"""

import re
import traceback
from typing import Final

OPEN, CLOSE = "“", "”"
QUOTED: Final = re.compile(f"{OPEN}[^{CLOSE}]*({CLOSE}|$)")
MARKS: Final = str.maketrans({OPEN: '"', CLOSE: '"'})
ERROR_TYPE: Final = re.compile(r"[\w.]{1,100}", re.ASCII)


def quoted(words: str) -> str:
    """Somebody else's words, marked as such."""
    return f"{OPEN}{words.translate(MARKS)}{CLOSE}"


def unquoted(text: str) -> str:
    """A text without the words of others in it."""
    return QUOTED.sub(f"{OPEN}…{CLOSE}", text)


def place_in(error: BaseException) -> str:
    """The type and place of an error: `KeyError, merge.py, line 44, in _fill`."""
    frames = traceback.StackSummary.extract(traceback.walk_tb(error.__traceback__), lookup_lines=False)
    place = [f"{frame.filename.rpartition('/')[2]}, line {frame.lineno}, in {frame.name}" for frame in frames[-1:]]
    return ", ".join([type(error).__name__, *place])


def place_of(whole: str) -> str:
    """The same of a traceback's text, as far as it can be told from that."""
    lines = whole.splitlines()
    last = max((index for index, line in enumerate(lines) if line.startswith('  File "')), default=-1)
    error = next((line for line in lines[last + 1 :] if not line.startswith(" ")), "").partition(":")[0]
    place = lines[last].rpartition("/")[2].replace('"', "") if last >= 0 else ""
    return ", ".join(filter(None, (error if ERROR_TYPE.fullmatch(error) else "", place)))
