"""Everything AMQP."""
