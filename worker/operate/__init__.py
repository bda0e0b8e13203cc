"""How people see the machine at work."""
