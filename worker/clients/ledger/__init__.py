"""The ledger's database: every event of every call, in SQLite or PostgreSQL."""
