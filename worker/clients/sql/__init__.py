"""SQL databases: one connection in a thread of its own, a schema that migrates itself, many writes to a transaction."""
