"""Files that may change while the service runs: they are read again when they have changed."""

from pathlib import Path


class Reloaded:
    """One or more files that belong together. New ones that are wrong are logged, and change nothing."""

    def __init__(self, *paths: Path) -> None:
        self._paths = paths
        self._seen = self._signatures()

    async def refresh(self, *, forced: bool = False) -> None:
        """Read them again where one has changed, or in any case."""
        signatures = self._signatures()
        if forced or signatures != self._seen:
            self._seen = signatures
            self._reload()

    def _reload(self) -> None:
        raise NotImplementedError

    def _signatures(self) -> list[tuple[int, int, int] | None]:
        return [_signature(path) for path in self._paths]


def _signature(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns
