"""What a process does: the endpoint, the enricher, the subscribers and the sweep."""
