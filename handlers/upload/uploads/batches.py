"""How bytes are taken from a client, on a socket or in a request: in batches that are worth a visit to the disk."""

from typing import Final

from jackfield.handlers.upload.settings import UploadOptions

BATCH: Final = 4 * 1024 * 1024  # bytes that make a visit to the worker thread worth its 100 to 200 µs
PATIENCE: Final = 0.02  # seconds to wait for so many
GRACE: Final = 0.05  # seconds of silence after which nothing more is on its way
LAST_TURN: Final = 0.25  # seconds that a session which is ended may go on with what has arrived


def least(options: UploadOptions) -> int:
    """Bytes to wait for: a client that keeps to a small window must not wait for a batch that it may not fill."""
    return min(BATCH, max(options.window // 4, 1))
