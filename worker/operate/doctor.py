"""What the doctor makes of what it was told of an installation: findings, each with its mend. Nothing is asked here."""

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Final, Literal

import msgspec

Status = Literal["ok", "warn", "fail"]
OLDEST: Final = (3, 10)
# The first releases of each series in which what is known to lose or hold up messages is mended.
RECOMMENDED: Final[Mapping[tuple[int, int], int]] = {(4, 2): 7, (4, 3): 4}
SKEW_MAX_S: Final = 30.0
SHOWN_MAX: Final = 10
EXPORT: Final = "what `aftercall topology export --users` writes for"
DECLARES: Final = ": `aftercall topology apply` declares it"
ENRICH: Final = "calls.enrich."


class Finding(msgspec.Struct, frozen=True):
    """One thing looked at. `mend` is what to do about it: a command, a setting, or where to look."""

    check: str
    status: Status
    detail: str
    mend: str = ""


class Reached(msgspec.Struct, frozen=True):
    """A node of the broker: its version if it answered, else the trouble."""

    where: str
    version: str = ""
    trouble: str = ""


class Depth(msgspec.Struct, frozen=True):
    """A queue as the broker sees it."""

    queue: str
    ready: int
    consumers: int


def of_nodes(nodes: Sequence[Reached]) -> Iterator[Finding]:
    """Whether each node answers, and which RabbitMQ it is."""
    is_reachable = any(not node.trouble for node in nodes)
    for node in nodes:
        if node.trouble:
            mend = "start RabbitMQ there, or set AFTERCALL_AMQP_URL to where it is"
            yield Finding("broker", "warn" if is_reachable else "fail", f"{node.where}: {node.trouble}", mend)
        else:
            yield _of_version(node)


def _of_version(node: Reached) -> Finding:
    found = re.match(r"(\d+)\.(\d+)(?:\.(\d+))?", node.version)
    told = f"RabbitMQ {node.version or 'of unknown version'} at {node.where}"
    if found is None:
        return Finding("broker", "warn", told, "Aftercall is made for RabbitMQ 3.10 to 4.3")
    series, patch = (int(found[1]), int(found[2])), int(found[3] or 0)
    if series < OLDEST:
        return Finding("broker", "fail", f"{told}, which is too old", "upgrade RabbitMQ to 4.2.7 or 4.3.4, or later")
    if series < min(RECOMMENDED) or patch < RECOMMENDED.get(series, 0):
        return Finding("broker", "warn", told, "in production, upgrade RabbitMQ to 4.2.7 or 4.3.4, or later")
    return Finding("broker", "ok", told)


def of_rights(refused: Sequence[str], *, user: str, vhost: str, may_lack: Sequence[str], role: str = "") -> Finding:
    """What the user may not do; `may_lack` are rights that these settings do not need, `role` whose user it is."""
    lacking = [right for right in refused if right not in may_lack]
    if not lacking:
        note = f", except {', '.join(refused)}, which AFTERCALL_TOPOLOGY=check can do without" if refused else ""
        what = f"its role ({role})" if role else "an installation"
        return Finding("permissions", "ok", f"user {user} has what {what} needs{note}")
    if role:
        return Finding("permissions", "fail", f"user {user} may not {_some(lacking)}", f"import {EXPORT} {role}")
    mend = f"rabbitmqctl set_permissions -p {vhost} {user} '^calls' '^calls' '^calls' (or the rights of its role alone)"
    return Finding("permissions", "fail", f"user {user} may not {_some(lacking)}", mend)


def of_guest(hosts: Sequence[str]) -> Iterator[Finding]:
    """Whether anyone could log in as we do: `hosts` are brokers elsewhere that take the user guest."""
    if hosts:
        mend = "name a user of its own in AFTERCALL_AMQP_URL, and delete guest: rabbitmqctl delete_user guest"
        yield Finding("permissions", "warn", f"the user is guest, which everybody knows, at {', '.join(hosts)}", mend)


def of_topology(differences: Sequence[str], not_compared: Sequence[str], mend: str) -> Iterator[Finding]:
    """How the broker differs from what the settings ask for, and the `mend` of what could not be compared."""
    for difference in differences[:SHOWN_MAX]:
        status: Status = "warn" if "is not asked for" in difference else "fail"
        yield Finding("topology", status, difference.removesuffix(DECLARES), _mend_of(difference))
    if len(differences) > SHOWN_MAX:
        more = f"and {len(differences) - SHOWN_MAX} more differences"
        yield Finding("topology", "fail", more, "aftercall topology check")
    for subject in not_compared:
        yield Finding("topology", "warn", f"not compared: {subject}", mend)
    if not differences:
        compared = "exchanges and queues are" if not_compared else "exchanges, queues, arguments, policies, bindings:"
        yield Finding("topology", "ok", f"{compared} as the settings ask")


def _mend_of(difference: str) -> str:
    if "is missing" in difference:
        return "aftercall topology apply"
    if "policy" in difference:
        return (
            "change the policy, which `rabbitmqctl list_policies` shows: safety is in arguments, capacity in policies"
        )
    if "is not asked for" in difference:
        return "unbind it, if it is a leftover"
    return "an argument cannot be changed: move to a queue of a new name, never delete one that holds messages"


def of_consumers(
    depths: Sequence[Depth], *, paused: Mapping[str, str], commands: Mapping[str, str]
) -> Iterator[Finding]:
    """Whether each queue that is to be consumed is. `paused` tells for which accounts Vapi fails, and how.

    `commands` are those that consume a queue, for the mend. Without enricher or ledger nothing works; a subscriber
    without a consumer only fills the disk.
    """
    lonely = [depth for depth in depths if not depth.consumers]
    for depth in lonely:
        reason = paused.get(depth.queue.removeprefix(ENRICH), "") if depth.queue.startswith(ENRICH) else ""
        yield _of_paused(depth, reason) if reason else _of_lonely(depth, commands.get(depth.queue, ""))
    if depths and not lonely:
        yield Finding("consumers", "ok", f"each of {len(depths)} queues has a consumer")


def _of_paused(depth: Depth, reason: str) -> Finding:
    told = f"{depth.queue} has no consumer, {depth.ready:,} waiting: an enricher pauses while Vapi fails it ({reason})"
    mend = "see the Vapi key below; if this stays once Vapi serves the account again, start `aftercall consume enrich`"
    return Finding("consumers", "warn", told, mend)


def _of_lonely(depth: Depth, command: str) -> Finding:
    is_ours = depth.queue.startswith(ENRICH) or depth.queue == "calls.ledger"
    told = f"{depth.queue} has no consumer, {depth.ready:,} waiting"
    if is_ours:
        breaker = ", or its log says `breaker.opened`: then it pauses till Vapi serves" * depth.queue.startswith(ENRICH)
        return Finding("consumers", "fail", told, f"start `{command}`; if it runs, its log says why{breaker}")
    mend = f"start `{command}`" if command else "start its consumer"
    return Finding("consumers", "warn", f"{told}: it fills the disk", f"{mend}, or {_removal(depth.queue)}")


def _removal(queue: str) -> str:
    name = queue.removeprefix("calls.")
    return f"take {name} out of AFTERCALL_SUBSCRIBERS or aftercall.toml, and unbind the queue"


def of_dead(depths: Sequence[Depth]) -> Iterator[Finding]:
    """Whether anything lies dead or unrouted."""
    full = [depth for depth in depths if depth.ready]
    for depth in full:
        queue = depth.queue.removesuffix(".dead")
        yield Finding(
            "dead letters", "warn", f"{depth.ready:,} in {depth.queue}", f"aftercall dead groups --queue {queue}"
        )
    if depths and not full:
        yield Finding("dead letters", "ok", "none, and nothing unrouted")


def of_spool(folder: str, trouble: str, *, is_made: bool, waiting: int = 0, aside: int = 0) -> Iterator[Finding]:
    """Whether the spool of this machine can be written, and whether something waits in it."""
    if trouble:
        mend = "AFTERCALL_SPOOL_DIR: name a folder on a local disk that the endpoint's user may write to, with room"
        yield Finding("spool", "fail", f"{folder} cannot be used ({trouble})", mend)
    elif not waiting and not aside:
        yield Finding("spool", "ok", f"{folder} can be {'written' if is_made else 'made'}, and is empty")
    if waiting:
        mend = "start `aftercall webhook` here: it drains when the broker takes messages"
        yield Finding("spool", "warn", f"{waiting:,} notifications wait in {folder} for the broker", mend)
    if aside:
        told = f"{aside:,} notifications are set aside in {folder}: the broker cannot take them"
        yield Finding("spool", "warn", told, "aftercall dead list --queue spool")


def of_database(name: str, found: int, latest: int, *, role: str, is_wanted: bool = True) -> Finding:
    """Whether the schema of ledger or archive is ours: `found` is 0 if there is none yet, `role` writes into it.

    Where it is not wanted there need be none.
    """
    if found == latest:
        return Finding(name, "ok", f"reachable, its schema is {found}")
    if found > latest:
        mend = f"install a newer aftercall, or name another database in AFTERCALL_{name.upper()}_URL"
        return Finding(name, "fail", f"its schema is {found}, and this version knows {latest}", mend)
    if not found and not is_wanted:
        return Finding(name, "ok", f"there is none, and {role} is not among AFTERCALL_SUBSCRIBERS")
    told = f"its schema is {found}, and this version works with {latest}" if found else "there is none yet"
    return Finding(name, "warn", told, f"start `aftercall consume {role}` (or `aftercall all`), which brings it up")


def of_clock(skews_s: Sequence[float], tolerance_s: float = math.inf) -> Finding:
    """Whether this machine's clock is right, by the times of Vapi's answers: ours minus theirs.

    `tolerance_s` is how far off the time of a signed webhook may be.
    """
    if not skews_s:
        return Finding(
            "clock",
            "warn",
            "not checked: no answer of Vapi has told the time",
            "mend what keeps Vapi from answering, and ask again; `timedatectl` tells meanwhile",
        )
    skew_s = min(skews_s, key=abs)
    if abs(skew_s) > tolerance_s:
        told = f"it is {abs(skew_s):.0f} s off, and signed webhooks are refused beyond {tolerance_s:.0f} s"
        return Finding("clock", "fail", told, "synchronise it: timedatectl set-ntp true")
    if abs(skew_s) > SKEW_MAX_S:
        told = f"it is {abs(skew_s):.0f} s {'ahead of' if skew_s > 0 else 'behind'} Vapi's: deadlines and ages are off"
        return Finding("clock", "warn", told, "synchronise it: timedatectl set-ntp true")
    return Finding("clock", "ok", f"within {max(1, round(abs(skew_s)))} s of Vapi's")


def of_key(account: str, status: int, trouble: str, *, key: str) -> Finding:
    """Whether Vapi takes the account's key: the status it answered with, 0 and the trouble if it did not."""
    check = f"vapi key {account}"
    if status == 200:  # noqa: PLR2004
        return Finding(check, "ok", "Vapi takes it")
    if status in (401, 403):
        return Finding(check, "fail", f"Vapi refuses it ({status})", f"set {key} to the organisation's private key")
    url = key.replace("API_KEY", "BASE_URL")
    if not status:
        return Finding(check, "fail", trouble, f"check {key} and {url}, DNS and proxies")
    if status == 400:  # noqa: PLR2004
        return Finding(check, "fail", "400 came back", f"if a proxy stands before Vapi, check {url} and its certfile")
    return Finding(check, "fail", f"Vapi answers {status}", "see https://status.vapi.ai; nothing is lost meanwhile")


def of_secret(account: str, *, is_set: bool, is_insecure: bool, key: str) -> Finding:
    """Whether the endpoint can check who posts."""
    check = f"webhook secret {account}"
    if not is_set:
        return Finding(check, "fail", "not set: the endpoint refuses to start", f"set {key} to the secret Vapi sends")
    if is_insecure:
        return Finding(check, "warn", "the check is off: anyone can post calls", f"set {key} to the secret Vapi sends")
    return Finding(check, "ok", "set")


def of_public_url(url: str, status: int, trouble: str) -> Finding:
    """Whether our endpoint answers at its public address: to a GET it says 405."""
    if status == 405:  # noqa: PLR2004
        return Finding("public url", "ok", f"the endpoint answers at {url}")
    told = trouble or f"a GET is answered {status}, where the endpoint says 405"
    return Finding("public url", "fail", f"{url}: {told}", "check DNS, the proxy's route and `aftercall webhook`")


def _some(things: Sequence[str], most: int = SHOWN_MAX) -> str:
    more = f" and {len(things) - most} more" if len(things) > most else ""
    return ", ".join(things[:most]) + more
