"""The failures that are uploads' own; what any service can fail with is in `app.errors`. Pure."""

import errno
from typing import Final

from jackfield.app.errors import DRAINING, INTERNAL_ERROR, TRY_AGAIN_LATER, Failure, Kind

INVALID_NAME = Kind.of_status("invalid_name", 400)
INCOMPLETE = Kind.of_status("incomplete", 400)
UNKNOWN_UPLOAD = Kind.of_status("unknown_upload", 404)
CANCELLED = Kind.of_status("cancelled", 404)
EXPIRED = Kind.of_status("expired", 404)
IDLE = Kind.of_status("idle", 408)
NOT_PERMITTED = Kind.of_status("not_permitted", 403)
REFUSED = Kind.of_status("refused", 403)
SUPERSEDED = Kind.of_status("superseded", 409)
NAME_TAKEN = Kind.of_status("name_taken", 409)
ALREADY_STORED = Kind.of_status("already_stored", 409)
COMPLETED = Kind.of_status("already_stored", 400)
OFFSET_MISMATCH = Kind.of_status("offset_mismatch", 409)
UNSUPPORTED_VERSION = Kind.of_status("unsupported_version", 412)
TOKEN_CONFLICT = Kind.of_status("token_conflict", 409)
DIGEST_MISMATCH = Kind.of_status("digest_mismatch", 422)
CHECKSUM_MISMATCH = Kind.of_status("checksum_mismatch", 460)
LOCKED = Kind.of_status("locked", 423, retry_after=1)
QUOTA_EXCEEDED = Kind.of_status("quota_exceeded", 429)
TOO_MANY_UPLOADS = Kind.of_status("too_many_uploads", 429, retry_after=30)
STORAGE_FAILED = Kind("storage_failed", 500, INTERNAL_ERROR)
NO_SPACE = Kind.of_status("no_space", 507)
HOOK_UNAVAILABLE = Kind("hook_unavailable", 503, TRY_AGAIN_LATER, retry_after=5)
TOO_MANY_FILES = Kind("too_many_files", 503, TRY_AGAIN_LATER, retry_after=5)

_REFUSALS: Final = {
    errno.ENOSPC: (NO_SPACE, "The disk is full."),
    errno.EDQUOT: (NO_SPACE, "The service's quota of the disk is used up."),
    errno.EFBIG: (NO_SPACE, "The file system takes no file of this size."),
    errno.EACCES: (NOT_PERMITTED, "The service may not write in its directory."),
    errno.EPERM: (NOT_PERMITTED, "The service may not write in its directory."),
    errno.EROFS: (NOT_PERMITTED, "The disk is read-only."),
    errno.EMFILE: (TOO_MANY_FILES, "The service has too many files open."),
    errno.ENFILE: (TOO_MANY_FILES, "The machine has too many files open."),
    errno.ENOENT: (STORAGE_FAILED, "The service's directory is not there."),
    errno.ECANCELED: (DRAINING, "The service is stopping."),
}


def failure_of(error: OSError) -> Failure:
    """What a disk's refusal is called."""
    unknown = STORAGE_FAILED, f"The disk failed: {error.strerror or error}."
    return Failure(*_REFUSALS.get(error.errno or 0, unknown))
