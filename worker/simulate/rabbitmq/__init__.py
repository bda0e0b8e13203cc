"""A RabbitMQ broker for the demo and the tests: a node of our own, or whatever else this machine can offer."""

from worker.simulate.rabbitmq.find import Broker, find_broker
from worker.simulate.rabbitmq.home import NoBrokerError, free_ports
from worker.simulate.rabbitmq.node import PrivateNode

__all__ = ["Broker", "NoBrokerError", "PrivateNode", "find_broker", "free_ports"]
