"""One socket from its upgrade to its end: served, watched, closed, counted and logged."""

import asyncio
import contextvars
from collections.abc import Callable
from functools import partial

import structlog.contextvars

from jackfield.app import errors
from jackfield.app.errors import Close, Disconnected, Failure
from jackfield.app.handler import Handler
from jackfield.app.logger import get_logger
from jackfield.app.metrics import Metrics
from jackfield.app.socket import closing
from jackfield.app.socket.connection import Connection
from jackfield.app.tasks import supervised

log = get_logger()


def draining() -> Failure:
    """A new exception for each socket: one that is raised keeps its traceback, and all frames in that."""
    return Failure(errors.DRAINING, "The service restarts; come back.")


class Session:
    """Runs the handler's `serve` in a task, and when that has ended closes the socket in another.

    So nothing of ours waits around `serve`: two coroutines there would weigh half a KiB on each open socket.
    `ended` is done when the socket is closed, and cancelled where closing it was; `forget` is called before that.
    """

    __slots__ = ("_begun", "_forget", "_handler", "_metrics", "_pinged", "_received", "_sent", "connection",
                 "ended", "task")  # fmt: skip

    def __init__(
        self, connection: Connection, handler: Handler, metrics: Metrics, forget: Callable[["Session"], None]
    ) -> None:
        self.connection = connection
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._handler = handler
        self._metrics = metrics
        self._forget = forget
        self._begun = asyncio.get_running_loop().time()
        self._received = self._sent = 0  # bytes that are in the metrics already
        self._pinged = 0.0  # the loop's time of the last ping to a silent peer
        self.task: asyncio.Task[None] | None = None  # `serve`, and then `_finish`

    def begin(self, patience: float) -> None:
        """Call the handler's `serve`; `patience` as of a connection."""
        connection, handler = self.connection, self._handler
        context = contextvars.copy_context()
        context.run(self._opened)
        connection.patience = patience
        self.task = serving = asyncio.create_task(handler.serve(connection), context=context)
        serving.add_done_callback(self._served, context=context)
        connection.serve_in(None if handler.outlives else serving)

    def _opened(self) -> None:
        connection, name = self.connection, self._handler.name
        self._metrics.connections.labels(name).inc()
        structlog.contextvars.bind_contextvars(connection=connection.id, handler=name)
        log.info("connection.opened", subprotocol=connection.subprotocol)

    def cancel(self) -> None:
        """Cancel the handler, or the closing of the socket."""
        if self.task is not None:
            self.task.cancel()

    # -- the end

    def _served(self, serving: asyncio.Task[None]) -> None:
        """The handler has returned, raised, or was cancelled."""
        self.connection.serve_in(None)
        self.task = asyncio.create_task(self._finish(self._end(serving)))

    def _end(self, serving: asyncio.Task[None]) -> Close | Disconnected:
        """How the socket is to be closed."""
        if serving.cancelled():
            return self.connection.interruption or draining()
        error = serving.exception()
        if error is None:
            return self.connection.source.left or Close(errors.NORMAL, "done")
        if isinstance(error, Close | Disconnected):
            return error
        log.error("handler.failed", exc_info=error)
        return Failure(errors.INTERNAL, "The service failed; its log says why.")

    async def _finish(self, end: Close | Disconnected) -> None:
        try:
            if not await supervised("socket", partial(self._close, end)):
                closing.abort(self.connection)  # a fault of ours in ending it
            if not self.ended.done():
                self.ended.set_result(None)
        finally:
            self.ended.cancel()  # nothing, unless this task itself was cancelled
            self._metrics.connections.labels(self._handler.name).dec()
            self._forget(self)

    async def _close(self, end: Close | Disconnected) -> None:
        await closing.finish(self.connection, end, self._last_words(end))
        self._closed(end, asyncio.get_running_loop().time() - self._begun)

    def _last_words(self, end: Close | Disconnected) -> str | None:
        """The handler's last text message. An exception in making it is logged, and does not replace the failure."""
        try:
            return self._handler.last_words(end) if isinstance(end, Failure) else None
        except Exception:
            log.exception("handler.failed")
            return None

    def _closed(self, end: Close | Disconnected, seconds: float) -> None:
        self._count(end, seconds)
        connection = self.connection
        code = end.kind.code if isinstance(end, Failure) else None
        log.info(
            "connection.closed", code=end.code, reason=end.reason, seconds=round(seconds, 3),
            received=connection.source.received, sent=connection.sent, **({"failure": code} if code else {}),
            **({"dropped": connection.dropped} if connection.dropped else {}),
        )  # fmt: skip

    def _count(self, end: Close | Disconnected, seconds: float) -> None:
        name = self._handler.name
        self._metrics.closes.labels(name, str(end.code)).inc()
        self.count_bytes()
        self._metrics.dropped.labels(name).inc(self.connection.dropped)
        self._metrics.seconds.labels(name).observe(seconds)

    # -- while it is open

    def count_bytes(self) -> None:
        """Those that have come and gone since it was asked last, so that a long upload is seen while it runs."""
        received, sent = self.connection.source.received, self.connection.sent
        if received == self._received and sent == self._sent:
            return  # most sockets are idle, and all are asked once a second
        self._metrics.received.labels(self._handler.name).inc(received - self._received)
        self._metrics.sent.labels(self._handler.name).inc(sent - self._sent)
        self._received, self._sent = received, sent

    async def check_liveness(self, heartbeat: float) -> None:
        """Ping a peer that is silent for one heartbeat, cut one that is silent for two.

        Any byte is a sign of life. Time in which the socket is not read does not count, as long as there is a link.
        """
        now = asyncio.get_running_loop().time()
        connection, source = self.connection, self.connection.source
        transport = connection.transport
        if transport.is_closing() or not (transport.is_reading() or closing.is_reset(connection)):
            source.heard = now
        silence = now - source.heard
        if silence >= 2 * heartbeat:
            closing.abort(connection)
            log.info("connection.silent", connection=connection.id, seconds=round(silence, 1))
        elif silence >= heartbeat and self._pinged <= source.heard:
            self._pinged = now
            await closing.ping(connection)
