"""The spool: where accepted messages wait on this machine while the broker takes none, and the drain out of it."""
