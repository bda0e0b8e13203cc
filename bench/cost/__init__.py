"""What one call costs, counted: `python -m bench.cost`."""
