"""The failures that are uploads' own; what any service can fail with is in `app.errors`."""

from jackfield.app.errors import INTERNAL_ERROR, Kind

INVALID_NAME = Kind.of_status("invalid_name", 400)
INCOMPLETE = Kind.of_status("incomplete", 400)
UNKNOWN_UPLOAD = Kind.of_status("unknown_upload", 404)
CANCELLED = Kind.of_status("cancelled", 404)
EXPIRED = Kind.of_status("expired", 404)
IDLE = Kind.of_status("idle", 408)
SUPERSEDED = Kind.of_status("superseded", 409)
NAME_TAKEN = Kind.of_status("name_taken", 409)
ALREADY_STORED = Kind.of_status("already_stored", 409)
TOKEN_CONFLICT = Kind.of_status("token_conflict", 409)
DIGEST_MISMATCH = Kind.of_status("digest_mismatch", 422)
TOO_MANY_UPLOADS = Kind.of_status("too_many_uploads", 429, retry_after=30)
STORAGE_FAILED = Kind("storage_failed", 500, INTERNAL_ERROR)
NO_SPACE = Kind.of_status("no_space", 507)
