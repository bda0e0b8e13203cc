"""What a role does per second and per processor, against a real broker. See `python -m bench --help`."""
