"""The slabs of one socket: where the next byte of its payload goes."""

import asyncio
from collections.abc import Iterator
from typing import Final

from jackfield.app.socket.buffers import PAGE, SLAB, Buffers, Slab

_NEARLY_FULL: Final = 64 * 1024  # bytes left in a slab below which a socket may reach into the next one
_FALLBACK: Final = 1024  # bytes to read into when there is no slab and the kernel insists
_FALLBACK_EXHAUSTED: Final = 32 * 1024  # likewise, where no slab was released for a while
_NEGLECT: Final = 1.0  # seconds without a request for bytes, after which a handler is neglecting its socket


class Slabs:
    """What one socket holds of the memory that all share.

    Where a run of bytes will be written to a file, memory lies as the file does: its n-th byte stands n
    bytes behind the beginning of a page. A run begins where `align` says. `held` counts the slabs: the one
    that is being filled, one for what goes beyond it, and those that chunks lie in. The stream says when the
    handler asks for bytes: `wanted` while it waits for them, `asked` is the loop's time at which it last did.
    """

    __slots__ = ("_buffers", "_loop", "_next", "_phase", "_place", "_slab", "asked", "held", "wanted")

    def __init__(self, buffers: Buffers) -> None:
        self._buffers = buffers
        self._loop = asyncio.get_running_loop()
        self.asked = self._loop.time()
        self.wanted = False
        self.held = 0
        self._slab: Slab | None = None  # that is being filled
        self._next: Slab | None = None  # for what of one turn goes beyond it
        self._place = 0  # in the slab, of the next byte
        self._phase = 0  # of the next byte's place in its run, the rest by a page

    # -- memory

    @property
    def may_grow(self) -> bool:
        """Whether the socket would be given another slab."""
        neglected = not self.wanted and self._loop.time() - self.asked > _NEGLECT
        return self._buffers.allows(self.held, wanted=self.wanted, neglected=neglected)

    @property
    def filling(self) -> Slab | None:
        """The slab in which more may soon stand behind what stands there."""
        return self._slab

    def hold(self, slab: Slab) -> None:
        """One more uses the slab."""
        if slab.users == 0 and slab.size == SLAB:
            self.held += 1
        slab.users += 1

    def drop(self, slab: Slab) -> None:
        """One fewer uses it; where it was the last it is given back."""
        slab.users -= 1
        if slab.users == 0 and slab.size == SLAB:
            self.held -= 1
            self._buffers.give(slab)

    def _take(self) -> Slab | None:
        if not self.may_grow:
            return None
        slab = self._buffers.take()
        self.hold(slab)
        return slab

    # -- one turn: reserve space, fill it, release what is unused

    def reserve(self) -> int:
        """Have a slab, and another one where it is nearly full; how many bytes fit. 0: there is no memory."""
        if self._slab is None:
            self._slab, self._place = self._take(), self._phase
            if self._slab is None:
                return 0
        room = self._slab.size - self._place
        if room < _NEARLY_FULL and self._next is None:
            self._next = self._take()
        return room if self._next is None else room + self._next.size

    def reserve_fallback(self) -> int:
        """Have a little memory beside the budget; how many bytes fit."""
        self._slab, self._place = Slab(_FALLBACK_EXHAUSTED if self._buffers.exhausted else _FALLBACK), 0
        self.hold(self._slab)
        return self._slab.size

    def fill(self, payload: memoryview, mask: bytes, phase: int) -> Iterator[tuple[Slab, int, int]]:
        """Put this there, unmasked; for each piece its slab and from where to where it lies.

        The payload begins `phase` bytes into the frame's. Raises IndexError where more comes than was reserved.
        """
        start, stop = 0, len(payload)
        while start < stop:
            room = self.next(stop - start)
            room[:] = payload[start : start + len(room)]
            yield self.unmask(len(room), mask, phase + start)
            start += len(room)

    def next(self, most: int) -> memoryview:
        """Where the next bytes belong, up to `most` of them. Raises IndexError where none were reserved."""
        slab = self._slab_with_space()
        return slab.view[self._place : self._place + most]

    def unmask(self, size: int, mask: bytes, phase: int) -> tuple[Slab, int, int]:
        """So many bytes stand there, masked: take the mask off. Their slab, and from where to where they lie."""
        slab = self._slab
        assert slab is not None
        place, self._place = self._place, self._place + size
        slab.unmask(place, self._place, mask, phase)
        self._phase = (self._phase + size) % PAGE
        return slab, place, self._place

    def _slab_with_space(self) -> Slab:
        if self._slab is not None and self._place == self._slab.size:
            self.drop(self._slab)
            self._slab, self._next, self._place = self._next, None, 0
        if self._slab is None:
            raise IndexError("no more is received than there is room for")
        return self._slab

    def release_unused(self) -> bool:
        """Release slabs without bytes: an idle socket holds no memory. True if a slab has become full."""
        if self._next is not None:
            self.drop(self._next)
            self._next = None
        slab = self._slab
        if slab is None:
            return False
        full = self._place == slab.size
        if full or slab.users == 1:
            self._slab = None
            self.drop(slab)
        return full

    def close(self) -> None:
        """Release all: nothing will be received any more."""
        for slab in (self._slab, self._next):
            if slab is not None:
                self.drop(slab)
        self._slab = self._next = None

    # -- the layout

    def align(self, offset: int) -> None:
        """A run begins: the next byte is the one at `offset` of its file."""
        self._phase = offset % PAGE

    @property
    def misaligned(self) -> bool:
        """Whether the next byte would not stand where it belongs on its page."""
        return self._phase != self._place % PAGE

    def realign(self, coming: int) -> None:
        """Put it there, unless `coming` bytes, which must all find room before memory is had again, would not."""
        slab = self._slab
        if slab is None:
            return
        place = self._place + (self._phase - self._place) % PAGE
        room = slab.size - place + (self._next.size if self._next is not None else 0)
        if place < slab.size and coming <= room:
            self._place = place
