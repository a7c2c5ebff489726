"""The hooks of one upload handler: what asks before an upload exists, and the outbox of its store."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import aiohttp

from jackfield.app.handler import CannotStart, periodically
from jackfield.handlers.upload.hooks.arrival import Arrival
from jackfield.handlers.upload.hooks.metrics import EventMetrics
from jackfield.handlers.upload.hooks.outbox import AGAIN, LOOK, EventStore, Limits, Outbox
from jackfield.handlers.upload.hooks.question import Question
from jackfield.handlers.upload.hooks.receivers import Method, Program, Receiver, Webhook
from jackfield.handlers.upload.hooks.webhooks import read_secret
from jackfield.handlers.upload.settings import HookOptions, OnStored, UploadOptions
from jackfield.handlers.upload.wire.messages import Promise


class UploadHooks:
    """See `uploads.hooks.Hooks`.

    `allow` and `told` are the methods of a subclass of `Upload`, None where it has none.
    """

    def __init__(
        self,
        options: UploadOptions,
        allow: Callable[[Promise, str | None], Awaitable[None]] | None,
        told: Callable[[Arrival], Awaitable[None]] | None,
        metrics: EventMetrics,
    ) -> None:
        self._options = options
        self._allow = allow
        self._told = told
        self._metrics = metrics
        self._question: Question | None = None  # while it is open, where somebody is asked
        self._outbox: Outbox | None = None  # while it is open, where somebody is told

    @property
    def announces(self) -> bool:
        """Whether somebody is told of stored uploads."""
        return self._options.on_stored is not None or self._told is not None

    @property
    def asks(self) -> bool:
        """See `Hooks`."""
        return self._allow is not None or self._question is not None

    async def ask(self, key: str, promise: Promise) -> None:
        """See `Hooks`."""
        if self._allow is not None:
            await self._allow(promise, None if promise.origin is None else promise.origin.user)
        if self._question is not None:
            await self._question.ask(key, promise)

    def stored(self) -> None:
        """See `Hooks`."""
        if self._outbox is not None:
            self._outbox.poke()

    @asynccontextmanager
    async def lifespan(self, store: EventStore, name: str, source: str) -> AsyncIterator[None]:
        """Ask and tell for the length of the block, in which the store is open. Raises CannotStart.

        `name` is the handler's, `source` its path.
        """
        options = self._options
        for each in (options.on_create, options.on_stored):
            _check_secret(each)
        told = options.on_stored
        if told is not None and self._told is None and told.command is None and told.url is None:
            raise CannotStart("on_stored: expected a command or a url")
        async with aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as session:
            if options.on_create is not None:
                self._question = Question(options.on_create, source, session)
            if not self.announces:
                yield
                return
            outbox = self._outbox = Outbox(store, self._receivers(source, session), self._limits(), self._metrics)
            work = [
                periodically(f"{name}.events", AGAIN, outbox.run),
                periodically(f"{name}.retried", LOOK, outbox.look),
            ]
            tasks = [asyncio.create_task(each) for each in work]
            try:
                yield
            finally:
                await outbox.stop(0)
                for task in tasks:
                    task.cancel()
                await asyncio.wait(tasks)

    async def drain(self, limit: float) -> None:
        """Begin to tell nobody more; who is being told has `limit` seconds."""
        if self._outbox is not None:
            await self._outbox.stop(limit)

    def _limits(self) -> Limits:
        told = self._options.on_stored or OnStored()
        return Limits(told.give_up, told.parallel)

    def _receivers(self, source: str, session: aiohttp.ClientSession) -> list[Receiver]:
        found: list[Receiver] = []
        told = self._options.on_stored or OnStored()
        if self._told is not None:
            found.append(Method(self._told, told.timeout))
        if told.command is not None:
            found.append(Program(told.command, source, told))
        if told.url is not None:
            found.append(Webhook(told.url, source, told, session))
        return found


def _check_secret(options: HookOptions | None) -> None:
    if options is not None and options.secret_file is not None:
        try:
            read_secret(options.secret_file)
        except (OSError, ValueError) as error:
            raise CannotStart(f"secret_file: {error}") from error
