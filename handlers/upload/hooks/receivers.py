"""Who is told of stored uploads: a command, a URL, or a method in Python; and what counts as told."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final, Protocol

import aiohttp

from jackfield.app.handler import get_logger
from jackfield.handlers.upload.hooks import programs, webhooks
from jackfield.handlers.upload.hooks.arrival import Arrival, stored_event
from jackfield.handlers.upload.settings import OnStored

log = get_logger()

_NEVER_AGAIN: Final = 100  # the exit status
_GONE: Final = 410  # the HTTP status


class NotDelivered(Exception):
    """It was not told. `final`: and it wants never to be told again."""

    def __init__(self, problem: str, *, final: bool = False) -> None:
        super().__init__(problem)
        self.problem = problem
        self.final = final


class Receiver(Protocol):
    """Somebody who is told."""

    async def tell(self, arrival: Arrival) -> None:
        """Return once it is told. Raises NotDelivered."""


class Program:
    """A command."""

    def __init__(self, command: list[str], source: str, options: OnStored) -> None:
        self._command = command
        self._source = source
        self._options = options

    async def tell(self, arrival: Arrival) -> None:
        """See the protocol."""
        words = programs.filled(self._command, {"path": arrival.path, "name": arrival.name, "id": arrival.id})
        event = stored_event(arrival, self._source)
        try:
            ended = await programs.run(words, event, self._options.timeout, errors=True)
        except TimeoutError:
            raise NotDelivered(f"no end within {self._options.timeout:g} s") from None
        except OSError as error:
            raise NotDelivered(f"{words[0]}: {error.strerror}") from error
        if ended.status:
            problem = f"exit status {ended.status}" if ended.status > 0 else f"signal {-ended.status}"
            said = f"{problem}: {ended.line}" if ended.line else problem
            raise NotDelivered(said, final=ended.status == _NEVER_AGAIN)


class Webhook:
    """A URL."""

    def __init__(self, url: str, source: str, options: OnStored, session: aiohttp.ClientSession) -> None:
        self._url = url
        self._source = source
        self._options = options
        self._session = session

    async def tell(self, arrival: Arrival) -> None:
        """See the protocol."""
        options, event = self._options, stored_event(arrival, self._source)
        try:
            answer = await webhooks.post(
                self._session, self._url, options.secret_file, arrival.id, event, options.timeout
            )
        except TimeoutError:
            raise NotDelivered(f"no answer within {options.timeout:g} s") from None
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise NotDelivered(f"{type(error).__name__}: {error}") from error
        if not 200 <= answer.status < 300:
            said = f"answered {answer.status}: {answer.detail}" if answer.detail else f"answered {answer.status}"
            raise NotDelivered(said, final=answer.status == _GONE)


class Method:
    """A method of a subclass of `Upload`."""

    def __init__(self, stored: Callable[[Arrival], Awaitable[None]], limit: float) -> None:
        self._stored = stored
        self._limit = limit  # seconds

    async def tell(self, arrival: Arrival) -> None:
        """See the protocol; whatever it raises, it is told once more."""
        limit = asyncio.timeout(self._limit)
        try:
            async with limit:
                await self._stored(arrival)
        except Exception as error:
            if limit.expired():
                raise NotDelivered(f"no end within {self._limit:g} s") from None
            log.warning("event.refused", upload=arrival.id[:12], exc_info=error)
            raise NotDelivered(f"{type(error).__name__}: {error}") from error
