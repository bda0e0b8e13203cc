"""A HubSpot to develop against: contacts, calls and properties, with its errors, limits and its slow search.

Written from HubSpot's OpenAPI documents and guides (2026-09). What those leave open, and is not known from elsewhere,
stands in docs/decisions/0010-crm.md.
"""
