"""The simulated API: what it answers to fetches and lists, and the control door for tests."""
