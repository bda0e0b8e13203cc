"""How the end of a call gets to the broker."""
