"""What becomes of the requests on a socket of many files: stored, failed, or given up when the socket ends."""

import asyncio
from functools import partial

from jackfield.app.errors import INTERNAL
from jackfield.app.handler import Connection, Failure
from jackfield.handlers.upload import tasks
from jackfield.handlers.upload.settings import UploadOptions
from jackfield.handlers.upload.sockets.answers import Answers
from jackfield.handlers.upload.sockets.lookahead import Incoming
from jackfield.handlers.upload.uploads.batches import LAST_TURN
from jackfield.handlers.upload.uploads.metrics import Words
from jackfield.handlers.upload.uploads.session import Session
from jackfield.handlers.upload.uploads.upload import OpenUpload
from jackfield.handlers.upload.wire.many import ManyConversation, Slot
from jackfield.handlers.upload.wire.messages import Receipt


class Outcomes:
    """The sessions of one socket, each from `begin` until its slot is done, and the tasks that end them."""

    def __init__(
        self,
        connection: Connection,
        options: UploadOptions,
        results: Words,
        incoming: Incoming,
        conversation: ManyConversation,
        answers: Answers,
    ) -> None:
        self.sessions: dict[Slot, Session] = {}  # of slots that are not done
        self._connection = connection
        self._options = options
        self._results = results
        self._incoming = incoming
        self._conversation = conversation
        self._answers = answers
        self._finishing: set[asyncio.Task[Receipt]] = set()
        self._releases: set[asyncio.Task[tuple[int, int] | None]] = set()

    def begin(self, slot: Slot, upload: OpenUpload) -> Session:
        """A session for the upload of the slot."""
        session = self.sessions[slot] = Session(
            upload, self._options, self._results, partial(self._interrupted, slot), partial(self._answers.moved, slot),
            self._connection.stream,
        )  # fmt: skip
        return session

    def finish(self, slot: Slot, sha256: str | None) -> None:
        """Its end is accepted: verify and store it."""
        finishing = self.sessions[slot].finish(sha256)
        self._finishing.add(finishing)
        finishing.add_done_callback(lambda task: self._concluded(slot, task))

    def _concluded(self, slot: Slot, finishing: "asyncio.Task[Receipt]") -> None:
        self._finishing.discard(finishing)
        try:
            receipt = finishing.result()
        except Failure as failure:
            if failure.kind is INTERNAL:
                self._connection.interrupt(failure)
                self._release(slot, failure)
            else:
                self.fail(slot, failure)
        else:
            self.stored(slot, receipt)
        self._answers.changed()

    def _interrupted(self, slot: Slot, failure: Failure) -> None:
        """It is ended from outside: by a newer socket, a cancellation, the disk."""
        if self._conversation.interrupted(slot, failure, more=self._incoming.waiting):
            self.detach(slot, failure)
        elif slot.failure is not None:
            asyncio.get_running_loop().call_later(LAST_TURN, self.fail, slot, failure)

    def end_superseded(self) -> None:
        """The current upload is taken over, and what had arrived is used: say so."""
        slot = self._conversation.current
        if slot is not None and slot.failure is not None and not self._incoming.waiting:
            self.fail(slot, slot.failure)

    def stored(self, slot: Slot, receipt: Receipt) -> None:
        """It has its receipt."""
        if self._conversation.stored(slot, receipt):
            self._answers.done(slot)
            session = self.sessions.pop(slot, None)
            if session is not None:
                session.stored()

    def fail(self, slot: Slot, failure: Failure) -> None:
        """It failed, for itself alone: the socket goes on with the next request."""
        if self._conversation.failed(slot, failure):
            self.detach(slot, failure)

    def detach(self, slot: Slot, failure: Failure | None) -> None:
        """Its last answer was said."""
        self._answers.done(slot)
        self._release(slot, failure)

    def _release(self, slot: Slot, failure: Failure | None) -> None:
        session = self.sessions.pop(slot, None)
        if session is not None:
            release = tasks.begin("upload.release", session.release(failure))
            self._releases.add(release)
            release.add_done_callback(self._releases.discard)

    async def settle(self) -> None:
        """The socket is over: what was ended is finished, and what was not is kept.

        A finish goes on by itself: it is waited for as long as its receipt can be said.
        """
        while self._finishing and not self._answers.over:
            await self._answers.progress()
        if self._conversation.current is not None:
            self._release(self._conversation.current, None)
        while self._releases:
            await asyncio.wait(self._releases)
