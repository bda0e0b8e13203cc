"""What ails the simulated HubSpot, and how strict it is; changed while it runs by POST /_simulate/faults."""

from typing import Any, Final

import msgspec

SCOPES: Final = (
    *("crm.objects.contacts.read", "crm.objects.contacts.write"),
    *("crm.schemas.contacts.write", "crm.schemas.calls.write"),
)


class Trouble(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The token it takes, with its scopes; its limits; and its faults, of which shares lie between 0 and 1.

    `status` answers everything. `lost` acts and then breaks the connection; `acts_then_waits_s` acts and is slow to say
    so. `search_lag_s` is how long a search does not show what was written.
    """

    token: str = "pat-simulated"  # noqa: S105  # of a simulation
    scopes: tuple[str, ...] = SCOPES
    per_ten_s: int = 100
    searches_per_s: int = 5
    per_day: int = 250_000
    search_lag_s: float = 0.0
    status: int = 0
    retry_after_s: int = 0
    server_error: float = 0.0
    rate_limited: float = 0.0
    lost: float = 0.0
    acts_then_waits_s: float = 0.0

    def changed(self, changes: dict[str, Any]) -> "Trouble":
        """The same but for what is named. Raises `ValueError`."""
        return msgspec.convert({**msgspec.to_builtins(self), **changes}, Trouble, strict=False)


def parse(text: str) -> dict[str, Any]:
    """Read `lost=0.1,search_lag_s=5`. Raises `ValueError`."""
    changes = dict(part.strip().partition("=")[::2] for part in text.split(",") if part.strip())
    if unknown := sorted(set(changes) - set(Trouble.__struct_fields__)):
        raise ValueError(f"{', '.join(unknown)}: there are {', '.join(Trouble.__struct_fields__)}")
    return changes
