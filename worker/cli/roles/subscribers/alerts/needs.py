"""What the alerts cannot run without."""

from worker.clients.notify import KEY, UNNAMED, labels_of, missing, urls_of
from worker.settings import Settings


def lack_of_alerts(settings: Settings) -> str | None:
    """What is missing, and what to do about it; None if all is there. Without any URL the log tells."""
    if (trouble := missing(settings.alerts_urls)) is not None:
        return trouble
    urls = urls_of(settings.alerts_urls)
    for rule in settings.alerts.in_force:
        unknown = [name for name in rule.to or (UNNAMED,) if not labels_of((name,), urls)]
        if unknown and rule.to:
            return f"rule {rule.name!r} tells {', '.join(unknown)}: add {unknown[0]}=<Apprise URL> to {KEY}"
        if unknown and urls:
            return f"rule {rule.name!r} has no `to`, and {KEY} only URLs with names: give it one, or add a URL without"
    return None
