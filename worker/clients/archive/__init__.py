"""The archive: every call in SQLite or PostgreSQL, with what was said."""
