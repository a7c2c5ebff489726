"""What a client would like to have: the header `Accept` (RFC 9110, 12.5.1)."""

from collections.abc import Sequence

from aiohttp import hdrs, web


def wants_html(request: web.Request) -> bool:
    """Whether `Accept` names text/html; `*/*` alone does not."""
    return _weights(request).get("text/html", 0) > 0


def preferred(request: web.Request, offers: Sequence[str]) -> str:
    """The offer that the client likes best; the first one where it does not care, or likes none."""
    weights = _weights(request)
    if not weights:
        return offers[0]

    def weight(offer: str) -> float:
        group = offer.partition("/")[0] + "/*"
        return weights.get(offer, weights.get(group, weights.get("*/*", 0)))

    return max(offers, key=weight)


def _weights(request: web.Request) -> dict[str, float]:
    weights = {}
    for part in ",".join(request.headers.getall(hdrs.ACCEPT, ())).split(","):
        kind, *parameters = (word.strip().lower() for word in part.split(";"))
        if kind:
            weights[kind] = next((_quality(word) for word in parameters if word.startswith("q=")), 1.0)
    return weights


def _quality(parameter: str) -> float:
    try:
        return float(parameter[2:])
    except ValueError:
        return 0.0
