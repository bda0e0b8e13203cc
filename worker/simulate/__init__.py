"""A Vapi to develop against: it ends calls, fires webhooks and serves the API, with faults on request."""
