"""HubSpot's API, as far as logging calls needs it. Source: its OpenAPI documents and guides, version 2026-09."""
