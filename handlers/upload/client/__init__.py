"""Uploads for anyone's aiohttp program: `upload(session, url, path)` and `upload_stream(…)`.

    async with aiohttp.ClientSession() as session:
        receipt = await upload(session, "http://localhost:8080", "data.bin")
        print(receipt.sha256, receipt.name)

When it returns, the file is on the service's stable storage, whole, and its digest was compared.
The package needs aiohttp and bitarray. Read it from `attempts` (one upload, over as
many sockets as it takes) to `transfer` (what is said on one socket), `connection` (how it goes out),
`source` (what is sent) and `failures`.
"""

from jackfield.handlers.upload.client.attempts import upload, upload_stream
from jackfield.handlers.upload.client.failures import (
    Changed,
    DigestMismatch,
    NoRoom,
    Refused,
    Rejected,
    Superseded,
    Unreachable,
    Unrepeatable,
    UploadError,
)
from jackfield.handlers.upload.client.many import upload_many
from jackfield.handlers.upload.client.transfer import Progress, Receipt

__all__ = [
    "Changed", "DigestMismatch", "NoRoom", "Progress", "Receipt", "Refused", "Rejected", "Superseded",
    "Unreachable", "Unrepeatable", "UploadError", "upload", "upload_many", "upload_stream",
]  # fmt: skip
