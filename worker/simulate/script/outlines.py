"""What is settled about a simulated call before a word of it is written: cheap to make, small to keep."""

import math
import random
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime

from worker.simulate.script.endings import Ending, draw_ending
from worker.simulate.script.speech import ASSISTANTS, PEOPLE, Assistant

ORG_ID = "7c9e1b3d-5f70-4a2b-8c4d-6e8f0a1b2c44"
PHONE_NUMBER_ID = "d8e0f2a4-1b3c-4d5e-9f60-7a8b9c0d1e55"

_SMALLEST_BYTES, _MEDIAN_BYTES, _LARGEST_BYTES = 2_000, 18_000, 500_000
_SIZE_SPREAD = 1.1
_MEDIAN_TALK_S, _TALK_SPREAD, _LONGEST_TALK_S = 80, 0.9, 3_600
_ZERO_DATA_RETENTION_SHARE = 0.06
_OWN_ASSISTANT_SHARE = 0.15
_AREAS = (503, 206, 415, 212, 312)


@dataclass(frozen=True, slots=True)
class Outline:
    """A call in outline. Times are epoch seconds, `size_bytes` is about the size of its webhook.

    A call may have an assistant of its own, made for it alone, instead of one that the account keeps under an id.
    """

    seed: int
    number: int
    id: str
    call_type: str
    ending: Ending
    customer_name: str
    customer_number: str
    created_at: float
    started_at: float | None
    ended_at: float
    size_bytes: int
    is_zero_data_retention: bool
    has_own_assistant: bool

    @property
    def assistant(self) -> Assistant:
        """The assistant that took the call."""
        return ASSISTANTS[self.call_type]

    @property
    def assistant_id(self) -> str | None:
        """The id of the kept assistant that took the call."""
        return None if self.has_own_assistant else self.assistant.id

    @property
    def is_phone_call(self) -> bool:
        """A call over the telephone network, with a number on either side."""
        return self.call_type != "webCall"


def outline_call(seed: int, number: int, ended_at: float, size_bytes: int | None = None) -> Outline:
    """Settle call `number` of this seed; `size_bytes` overrides the size drawn for it."""
    rng = stream(seed, number, "outline")
    ending = draw_ending(rng)
    ended_at = to_milliseconds(ended_at)
    ringing_s, talking_s = rng.uniform(2, 25), _draw_talk(rng) if ending.is_answered else 0.0
    created_at = ended_at - talking_s - ringing_s
    drawn_bytes = _draw_size(rng)
    return Outline(
        seed=seed,
        number=number,
        id=_time_ordered_id(rng, created_at),
        call_type=rng.choice(ending.call_types),
        ending=ending,
        customer_name=rng.choice(PEOPLE),
        customer_number=f"+1{rng.choice(_AREAS)}55501{rng.randint(0, 99):02d}",
        created_at=created_at,
        started_at=ended_at - talking_s if ending.is_answered else None,
        ended_at=ended_at,
        size_bytes=size_bytes or drawn_bytes,
        is_zero_data_retention=ending.is_answered and happens(rng, _ZERO_DATA_RETENTION_SHARE),
        has_own_assistant=happens(rng, _OWN_ASSISTANT_SHARE),
    )


def stream(*names: object) -> random.Random:
    """Return the random numbers that belong to these names: the same in every process and run."""
    return random.Random("/".join(map(str, names)))  # noqa: S311  repeatable is the point, not secret


def happens(rng: random.Random, share: float) -> bool:
    """Decide whether something befalls this one, if it befalls this share (0 to 1) of all."""
    return rng.random() < share


def iso(at: float) -> str:
    """Write epoch seconds as Vapi writes times: ISO 8601 with milliseconds and Z."""
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def to_milliseconds(at: float) -> float:
    """Cut epoch seconds to the milliseconds that `iso` writes; what is cut already stays as it is."""
    return round(at * 1_000_000) // 1000 / 1000


def random_id(rng: random.Random) -> str:
    """Make a random UUID from the numbers of a stream."""
    return str(uuid.UUID(int=rng.getrandbits(128), version=4))


def _draw_talk(rng: random.Random) -> float:
    return min(rng.lognormvariate(math.log(_MEDIAN_TALK_S), _TALK_SPREAD), _LONGEST_TALK_S)


def _draw_size(rng: random.Random) -> int:
    drawn = rng.lognormvariate(math.log(_MEDIAN_BYTES), _SIZE_SPREAD)
    return int(min(max(drawn, _SMALLEST_BYTES), _LARGEST_BYTES))


def _time_ordered_id(rng: random.Random, created_at: float) -> str:
    # UUID version 7: 48 bits of milliseconds first, then the version, then chance.
    milliseconds = int(created_at * 1000)
    high = milliseconds << 16 | 0x7000 | rng.getrandbits(12)
    low = 1 << 63 | rng.getrandbits(62)
    return str(uuid.UUID(int=high << 64 | low))
