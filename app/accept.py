"""The header `Accept` (RFC 9110, 12.5.1), without its weights."""

from aiohttp import hdrs, web


def accepts(request: web.Request, kind: str) -> bool:
    """Whether `Accept` names this media type; `*/*` alone names none."""
    parts = ",".join(request.headers.getall(hdrs.ACCEPT, ())).split(",")
    return kind in (part.partition(";")[0].strip().lower() for part in parts)
