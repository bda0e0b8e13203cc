"""Every metric, for the documentation: `python -m worker.operate.catalogue` writes the tables of docs/metrics.md."""

import sys
from collections.abc import Iterator, Mapping
from typing import Final

from prometheus_client import Histogram
from prometheus_client.metrics import MetricWrapperBase

from worker.operate import telemetry

LABELS: Final[Mapping[str, str]] = {
    "account": "an account of the settings; at the endpoint also `other`, for paths that name none",
    "answer": "the status of the answer; `499`: the client broke off amid the body",
    "type": "Vapi's message type, `none` where it was not read, `other` for one that is not known here",
    "queue": "a queue with a consumer here; `calls.webhook`: parked by the endpoint",
    "status": "the HTTP status (`other` outside 100 to 599), `timeout`, or `error`: no answer",
    "source": "where the call's content came from: `api`, `webhook`, `both`",
    "reason": "`undecodable`, `rejected`, `too-large`, `gave-up`, `error`, `no-type`, `no-call-id`",
    "target": "a table `[forward.…]`, or a name in `AFTERCALL_ALERTS_URLS`",
    "rule": "a rule of `[alerts]`",
    "runs": "`webhook`, `enrich`, `sweep`, a built-in subscriber, or a handler of yours",
    "version": "Aftercall's version",
    "python": "Python's version",
    "aftercall_deliveries.outcome": (
        "`acked`, `retried`, `held`, `dead_lettered`; `unsettled`: given back to the broker in trouble; `interrupted`:"
        " given back at a stop"
    ),
    "aftercall_duplicates.verdict": "`duplicate`, `superseded` (by a greater event of the call)",
    "aftercall_crm_calls.verdict": "`created`, `updated`, `skipped`, `unset` (its account has no token)",
    "aftercall_sweep_calls.verdict": (
        "`known`, `swept` (sent in), `behind` (missing, and left for the next sweep), `unfinished` (not ended yet)"
    ),
    "aftercall_alerts.what": "`raised`, `reminded`, `over`",
    "aftercall_alert_messages.outcome": "`sent`, `failed`",
    "aftercall_drift.what": "`ended-reason`, `field`",
}
"""What the values of a label are: by its name, or as `metric.label` where metrics differ."""


def metrics() -> tuple[MetricWrapperBase, ...]:
    """Every metric of ours, in the order in which they are defined."""
    return tuple(each for each in vars(telemetry).values() if isinstance(each, MetricWrapperBase))


def name_of(metric: MetricWrapperBase) -> str:
    """Its name as it is exported, a counter's with `_total`; a histogram's has `_bucket`, `_sum` and `_count`."""
    (family,) = metric.describe()
    return f"{family.name}_total" if family.type == "counter" else str(family.name)


def labels_of(metric: MetricWrapperBase) -> tuple[str, ...]:
    """The names of its labels."""
    return tuple(metric._labelnames)  # noqa: SLF001  # nothing public tells them before the first sample


def bounds_of(histogram: Histogram) -> tuple[float, ...]:
    """The upper bounds of its buckets, without the infinite one, in seconds."""
    return tuple(histogram._kwargs["buckets"])  # noqa: SLF001  # as above


def values_of(metric: MetricWrapperBase, label: str) -> str:
    """What the values of a label of a metric are. Raises `KeyError` if nobody wrote that down."""
    own = f"{name_of(metric).removesuffix('_total')}.{label}"
    return LABELS[own] if own in LABELS else LABELS[label]


def page() -> Iterator[str]:
    """The tables, line by line."""
    yield from ("| metric | | labels | |", "|---|---|---|---|")
    yield from map(_row, metrics())
    yield from ("", "| label | values |", "|---|---|")
    told = {(_place(metric, label), values_of(metric, label)) for metric in metrics() for label in labels_of(metric)}
    yield from (f"| {place} | {values} |" for place, values in sorted(told))
    yield from ("", "| histogram | buckets (seconds) |", "|---|---|")
    yield from (f"| `{name_of(each)}` | {_bounds(each)} |" for each in metrics() if isinstance(each, Histogram))


def _row(metric: MetricWrapperBase) -> str:
    (family,) = metric.describe()
    labels = ", ".join(f"`{label}`" for label in labels_of(metric))
    return f"| `{name_of(metric)}` | {family.type} | {labels} | {family.documentation} |"


def _place(metric: MetricWrapperBase, label: str) -> str:
    return f"`{label}`" if label in LABELS else f"`{label}` of `{name_of(metric)}`"


def _bounds(histogram: Histogram) -> str:
    return ", ".join(f"{bound:g}" for bound in bounds_of(histogram))


if __name__ == "__main__":
    sys.stdout.writelines(line + "\n" for line in page())
