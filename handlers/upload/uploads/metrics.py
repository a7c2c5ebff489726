"""The metrics of an upload handler."""

from prometheus_client import CollectorRegistry, Counter


class UploadMetrics:
    """`results` of uploads, and `refusals` of creations; both by code word."""

    def __init__(self, name: str, registry: CollectorRegistry) -> None:
        self.results = Counter(f"jackfield_{name}_results", "Uploads, by their outcome", ["result"], registry=registry)
        self.refusals = Counter(
            f"jackfield_{name}_refusals", "Uploads that were not created, by code word", ["code"], registry=registry
        )
