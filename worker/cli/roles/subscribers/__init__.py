"""The subscribers: those that are built in, and handlers of the user's own."""
