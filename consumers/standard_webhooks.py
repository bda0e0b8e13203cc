"""Signing what is posted, as Standard Webhooks 1.0 has it: https://github.com/standard-webhooks/standard-webhooks."""

import base64
import hashlib
import hmac
from collections.abc import Iterable


def signed_headers(event_id: str, at: float, body: bytes, keys: Iterable[bytes]) -> dict[str, str]:
    """The headers of one post at an instant (epoch seconds).

    They are an id, equal at every try, the time of this one, and a signature by each key, of which there are two while
    one is being rotated. Without a key there is no signature.
    """
    signed = b"%b.%d.%b" % (event_id.encode(), int(at), body)
    signatures = [f"v1,{base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode()}" for key in keys]
    headers = {"webhook-id": event_id, "webhook-timestamp": str(int(at))}
    return headers | ({"webhook-signature": " ".join(signatures)} if signatures else {})
