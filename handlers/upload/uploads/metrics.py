"""The metrics of upload handlers: each has the label `handler`, and all handlers of one service share it."""

from typing import Final
from weakref import WeakKeyDictionary

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram


class _Families:
    def __init__(self, registry: CollectorRegistry) -> None:
        self.results = Counter(
            "jackfield_upload_results", "Uploads, by their outcome", ["handler", "result"], registry=registry
        )
        self.refusals = Counter(
            "jackfield_upload_refusals", "Uploads that were not created, by code word", ["handler", "code"],
            registry=registry,
        )  # fmt: skip
        self.open = Gauge("jackfield_upload_open", "Uploads that are open", ["handler"], registry=registry)
        self.memory = Gauge(
            "jackfield_upload_buffer_bytes", "Memory out for received bytes", ["handler"], registry=registry
        )
        self.syncs = Histogram("jackfield_upload_fsync_seconds", "How long syncs took", ["handler"], registry=registry)


_KNOWN: Final[WeakKeyDictionary[CollectorRegistry, _Families]] = WeakKeyDictionary()


class Words:
    """A counter of one handler, by words."""

    def __init__(self, family: Counter, handler: str) -> None:
        self._family = family
        self._handler = handler
        self._counters: dict[str, Counter] = {}  # by word; to look one up in the family costs ten times as much

    def labels(self, word: str) -> Counter:
        """The counter of this word."""
        counter = self._counters.get(word)
        if counter is None:
            counter = self._counters[word] = self._family.labels(self._handler, word)
        return counter


class UploadMetrics:
    """`results` of uploads, and `refusals` of creations; both by code word. The others are as Prometheus has them."""

    def __init__(self, name: str, registry: CollectorRegistry) -> None:
        families = _KNOWN.get(registry)
        if families is None:
            families = _KNOWN[registry] = _Families(registry)
        self.results = Words(families.results, name)
        self.refusals = Words(families.refusals, name)
        self.open = families.open.labels(name)
        self.memory = families.memory.labels(name)
        self.syncs = families.syncs.labels(name)
