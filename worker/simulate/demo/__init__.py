"""The demo: everything on this machine, and calls travelling through."""
