"""Aftercall beside what people would use instead, in turns on one machine: `python -m bench.compare`, `make bench`."""
