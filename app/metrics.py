"""The service's metrics, in one registry of its own, printed by `/metrics`."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.gc_collector import GCCollector
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector

from jackfield.app import tasks
from jackfield.app.logwriter import STANDARD_ERROR


class Metrics:
    """The service's own figures; handlers add theirs to `registry`."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        PlatformCollector(registry=registry)
        GCCollector(registry=registry)
        registry.register(tasks.FAILURES)
        registry.register(STANDARD_ERROR)
        self.connections = Gauge("jackfield_connections", "Sockets open now", ["handler"], registry=registry)
        self.closes = Counter(
            "jackfield_closes", "Sockets ended, by the code they ended with", ["handler", "code"], registry=registry
        )
        self.received = Counter("jackfield_received_bytes", "Bytes received on sockets", ["handler"], registry=registry)
        self.sent = Counter("jackfield_sent_bytes", "Bytes of messages sent on sockets", ["handler"], registry=registry)
        self.dropped = Counter(
            "jackfield_dropped_messages", "Messages that outboxes dropped", ["handler"], registry=registry
        )
        self.refusals = Counter(
            "jackfield_refusals", "Requests refused, upgrades among them, by code word", ["handler", "code"],
            registry=registry,
        )  # fmt: skip
        self.refused_connections = Counter(
            "jackfield_refused_connections", "TCP connections that ended before any request, by reason", ["reason"],
            registry=registry,
        )  # fmt: skip
        self.answers = Counter(
            "jackfield_answers", "HTTP answers, those that opened sockets among them, by status", ["handler", "status"],
            registry=registry,
        )  # fmt: skip
        self.handlers: dict[str, str] = {}  # the names of handlers, by the paths of their resources
        self.seconds = Histogram(
            "jackfield_connection_seconds", "How long sockets lived", ["handler"], registry=registry,
            buckets=(0.1, 1, 10, 60, 600, 3600, 86400),
        )  # fmt: skip
