"""The question before an upload exists: a command or a URL, and a method in Python, may refuse it."""

import asyncio
from collections.abc import Mapping
from typing import Final, Protocol

import aiohttp

from jackfield.app.handler import Failure, Kind
from jackfield.handlers.upload.hooks import programs, webhooks
from jackfield.handlers.upload.hooks.arrival import id_of, requested_event
from jackfield.handlers.upload.settings import OnCreate
from jackfield.handlers.upload.wire.messages import Promise
from jackfield.handlers.upload.wire.words import HOOK_UNAVAILABLE, REFUSED

_AT_ONCE: Final = 16  # questions that are asked at the same time; others wait for their turn
_TURN: Final = 30.0  # seconds in which it must come


class Asked(Protocol):
    """Who is asked."""

    async def ask(self, key: str, promise: Promise) -> None:
        """Return where the upload may exist. Raises Failure `refused` or `hook_unavailable`, or what it likes."""


class Question:
    """`on_create`: asks a command or a URL."""

    def __init__(self, options: OnCreate, source: str, session: aiohttp.ClientSession) -> None:
        self._options = options
        self._source = source
        self._session = session
        self._free = asyncio.Semaphore(_AT_ONCE)

    async def ask(self, key: str, promise: Promise) -> None:
        """See `Asked`."""
        try:
            async with asyncio.timeout(_TURN) as turn, self._free:
                turn.reschedule(None)
                await self._ask(key, promise)
        except TimeoutError:
            raise _unavailable("too many wait for it") from None

    async def _ask(self, key: str, promise: Promise) -> None:
        event = requested_event(key, promise, self._source)
        try:
            async with asyncio.timeout(self._options.timeout):
                if self._options.url is not None:
                    await self._ask_url(self._options.url, key, event)
                else:
                    await self._ask_program({"path": "", "name": promise.place, "id": id_of(key)}, event)
        except TimeoutError:
            raise _unavailable(f"it has not answered within {self._options.timeout:g} s") from None
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise _unavailable("it cannot be reached") from error

    async def _ask_url(self, url: str, key: str, event: bytes) -> None:
        options = self._options
        answer = await webhooks.post(self._session, url, options.secret_file, id_of(key), event, options.timeout)
        if 400 <= answer.status < 500:
            raise Failure(Kind.of_status(REFUSED.code, answer.status), answer.detail or "The upload was refused.")
        if not 200 <= answer.status < 300:
            raise _unavailable(f"it has answered {answer.status}")

    async def _ask_program(self, places: Mapping[str, str], event: bytes) -> None:
        words = programs.filled(self._options.command or [], places)
        ended = await programs.run(words, event, self._options.timeout, errors=False)
        if ended.status < 0:
            raise _unavailable(f"signal {-ended.status} has ended it")
        if ended.status:
            raise Failure(REFUSED, ended.line or "The upload was refused.")


def _unavailable(problem: str) -> Failure:
    return Failure(HOOK_UNAVAILABLE, f"Whoever decides on uploads cannot be asked: {problem}.")
