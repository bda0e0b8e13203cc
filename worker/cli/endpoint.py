"""The endpoint's parts: its publisher, the accounts' checks, and the public port."""

from typing import Final

from worker.cli.process import Process
from worker.ingress.signature import checker
from worker.ingress.webhook import Endpoint, application
from worker.operate.telemetry import logger

PUBLISH_S: Final = 2.0
"""Vapi waits 20 s for an answer by default; what takes longer than this is trouble."""


async def start_endpoint(process: Process) -> None:
    """Serve the endpoint."""
    settings = process.settings
    for account in settings.accounts:
        if account.is_insecure:
            logger().warning("webhook.insecure", account=account.name, detail="anyone can post: the check is off")
    publisher = process.open_publisher("webhook", PUBLISH_S, is_patient=False)
    endpoint = Endpoint(
        checks={account.name: checker(account) for account in settings.accounts},
        publish=publisher.publish,
        max_body_bytes=settings.webhook_max_body_bytes,
        notes=settings.keeps_ledger,
    )
    app = application(endpoint)
    host, port, grace_s = settings.webhook_host, settings.webhook_port, settings.grace_s
    await process.listen(app, host, port, grace_s, key="AFTERCALL_WEBHOOK_PORT")
