"""How a process runs: what its roles share, what starts them, and how it ends."""
