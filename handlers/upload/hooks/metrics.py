"""The metrics of events: each has the label `handler`, and all handlers of one service share it."""

from typing import Final
from weakref import WeakKeyDictionary

from prometheus_client import CollectorRegistry, Counter, Gauge


class _Families:
    def __init__(self, registry: CollectorRegistry) -> None:
        labels = ["handler"]
        self.waiting = Gauge("jackfield_events_waiting", "Events that wait for delivery", labels, registry=registry)
        self.delivered = Counter("jackfield_events_delivered", "Events that were delivered", labels, registry=registry)
        self.failed = Counter("jackfield_events_failed", "Events that were given up", labels, registry=registry)


_KNOWN: Final[WeakKeyDictionary[CollectorRegistry, _Families]] = WeakKeyDictionary()


class EventMetrics:
    """Those of one handler, as Prometheus has them."""

    def __init__(self, name: str, registry: CollectorRegistry) -> None:
        families = _KNOWN.get(registry)
        if families is None:
            families = _KNOWN[registry] = _Families(registry)
        self.waiting = families.waiting.labels(name)
        self.delivered = families.delivered.labels(name)
        self.failed = families.failed.labels(name)
