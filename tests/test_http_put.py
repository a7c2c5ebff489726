"""The contract, "HTTP": `PUT /upload/<name>` is one request and one file."""

import base64
import hashlib

from tests.support.outsider import Outsider, content, digest


def field(sha256: str) -> str:
    """The value of `Repr-Digest`."""
    return f"sha-256=:{base64.b64encode(bytes.fromhex(sha256)).decode()}:"


async def test_a_file_is_stored_and_its_digest_told(outsider: Outsider) -> None:
    """201, behind the receipt: the line that `sha256sum -c` takes, and the digest as a header."""
    data = content(2**19 + 5)
    answer = await outsider.http("PUT", "/upload/put/gr%C3%B6%C3%9Fe.bin", body=data)
    assert (answer.status, answer.body.decode()) == (201, f"{digest(data)}  put/größe.bin\n")
    assert answer.headers["Repr-Digest"] == field(digest(data))
    assert (outsider.service.directory() / "put/größe.bin").read_bytes() == data
    assert hashlib.sha256(data).hexdigest() == digest(data)
