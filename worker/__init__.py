"""The worker runs: all that has a socket, a clock, a disk or an environment. What is decided stands in `consumers`."""
