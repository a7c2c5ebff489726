"""Uploads for anyone's aiohttp program: `upload(session, url, path)`, and its like for streams and for many files.

    async with aiohttp.ClientSession() as session:
        receipt = await upload(session, "http://localhost:8080", "data.bin")
        print(receipt.sha256, receipt.name)

When it returns, the file is on the service's stable storage, whole, and its digest was compared. The package needs
aiohttp alone. Read it from `attempts` (one upload, over as many sockets as it takes) to `transfer` (what is said
on one socket), `connection` (how it goes out), `source` (what is sent) and `failures`; `many` and `ledger` do the same
for a folder of small files.
"""

from jackfield.handlers.upload.client.attempts import cancel, upload, upload_file, upload_stream
from jackfield.handlers.upload.client.creation import draw_token
from jackfield.handlers.upload.client.failures import (
    Changed,
    DigestMismatch,
    NoSpace,
    Refused,
    Rejected,
    Superseded,
    TokenConflict,
    Unreachable,
    Unrepeatable,
    UploadError,
)
from jackfield.handlers.upload.client.many import upload_many
from jackfield.handlers.upload.client.transfer import Progress, Receipt

__all__ = [
    "Changed", "DigestMismatch", "NoSpace", "Progress", "Receipt", "Refused", "Rejected", "Superseded", "TokenConflict",
    "Unreachable", "Unrepeatable", "UploadError", "cancel", "draw_token", "upload", "upload_file", "upload_many",
    "upload_stream",
]  # fmt: skip
