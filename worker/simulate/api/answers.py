"""How the API answers: which status a fetch gets, and the bodies of refusals in Vapi's and Cloudflare's manner."""

from dataclasses import dataclass

from aiohttp import web

from worker.simulate.account import EndedCall

_WRONG_KEY = "Invalid Key. Hot tip, you may be using the private key instead of the public key, or vice versa."
_ERRORS = {400: "Bad Request", 401: "Unauthorized", 404: "Not Found", 429: "Too Many Requests"}
_CLOUDFLARE = {
    502: "502: Bad gateway",
    503: "503: Service temporarily unavailable",
    521: "521: Web server is down",
    524: "524: A timeout occurred",
}


@dataclass(frozen=True, slots=True)
class FetchAnswer:
    """What one GET of a call gets: its status, and the seconds its body takes, or whether it is cut off."""

    status: int
    slow_s: float = 0.0
    is_truncated: bool = False


def answer_fetch(ended: EndedCall, now: float) -> FetchAnswer:
    """Decide how a GET of this call at `now` is answered: 404s by age, then the counted faults, one a fetch."""
    if not ended.is_visible(now):
        return FetchAnswer(404)
    faults, nth = ended.faults, ended.served
    refusals = (429,) * faults.rate_limits + faults.server_errors
    if nth < len(refusals):
        return FetchAnswer(refusals[nth])
    return FetchAnswer(200, faults.slow_s, is_truncated=nth < len(refusals) + faults.truncations)


def refuse(status: int, message: str | list[str] = "", *, retry_after_s: int | None = None) -> web.Response:
    """Write a refusal: Cloudflare's page for the statuses that come from there, else NestJS' JSON."""
    headers = {} if retry_after_s is None else {"Retry-After": str(retry_after_s)}
    if status in _CLOUDFLARE:
        return web.Response(status=status, text=_page(_CLOUDFLARE[status]), content_type="text/html", headers=headers)
    error = {"error": _ERRORS[status]} if status in _ERRORS else {}
    body = {"message": message or _message(status), **error, "statusCode": status}
    return web.json_response(body, status=status, headers=headers)


def _message(status: int) -> str:
    known = {401: _WRONG_KEY, 404: "Couldn't find call.", 429: "Rate limit exceeded"}
    return known.get(status, "Internal server error")


def _page(title: str) -> str:
    return (
        f'<!DOCTYPE html>\n<html lang="en-US">\n<head><title>api.vapi.ai | {title}</title></head>\n'
        f"<body><h1>{title}</h1><p>Cloudflare Ray ID: 9a1b2c3d4e5f6a7b</p></body>\n</html>\n"
    )
