"""A model of uploads beside the real ones: whatever is done to both, they never differ."""

import hashlib
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import invariant, precondition, rule

from jackfield.handlers.upload.wire.messages import Promise
from tests.support.model import ENDINGS, HOUR, ORDERLY, Known, Machine, content
from tests.support.outsider import digest
from tests.support.rawsocket import Closed

NAMES = ["a.txt", "a.txt", "b", "b/c.txt", "d/e"]
SIZES = [5_000, 70_000, 300_000, 1, 0]
CHECKS = [HealthCheck.too_slow, HealthCheck.filter_too_much]


class UploadsAsModelled(Machine):
    """All that can be done to uploads, in any order."""

    @rule(
        name=st.sampled_from(NAMES), size=st.sampled_from(SIZES), promised=st.booleans(), proved=st.booleans(),
        plain=st.booleans(), attach=st.sampled_from([True, True, False]),
    )  # fmt: skip
    def create(self, name: str, size: int, promised: bool, proved: bool, plain: bool, attach: bool) -> None:
        """As JSON with or without promises, or plain; refused where the name is taken already."""
        self.made += 1
        data = content(self.made, size)
        promise = Promise(
            name, size if promised and not plain else None, digest(data) if proved and not plain else None, plain
        )
        if plain:
            options: dict[str, Any] = {"data": name, "headers": {"Content-Type": "text/plain"}}
        else:
            options = {"json": {"name": name, "size": promise.size, "sha256": promise.sha256}}
        status, body = self.run(self.ask("POST", "/upload", **options))
        if self.run(self.model.taken(name)):
            assert (status, body["code"]) == (409, "name_taken")
            return
        assert status == 201
        self.uploads.append(Known(promise, f"/upload/{body}" if plain else body["url"], data))
        if attach:
            self.attach_to(self.uploads[-1])

    @rule(name=st.sampled_from(NAMES), size=st.sampled_from(SIZES), ended=st.sampled_from([True, False]))
    def create_on_a_socket_of_many(self, name: str, size: int, ended: bool) -> None:
        """Created, sent, and ended or left on one socket."""
        self.made += 1
        known = Known(Promise(name), "", content(self.made, size))
        opened = self.run(self.connect("/upload"))
        self.run(opened.json(type="create", name=name))
        known.url = f"/upload/{self.run(opened.message('ready'))['token']}"
        self.uploads.append(known)
        self.run(opened.binary(known.content))
        known.low = known.high = size
        if ended:
            self.run(opened.end())
            code, _ = self.outcome(known, None)
            found = self.run(opened.message("stored" if code is None else "error"))
            assert found.get("code") == code
            assert found["token"] == known.url.rpartition("/")[2]
            if code is None:
                assert {key: found[key] for key in known.receipt} == known.receipt
                known.state = "stored"
        self.run(opened.close())
        assert self.run(self.last(opened)).code == 1000
        self.run(opened.dispose())

    @precondition(lambda self: self.uploads)
    @rule(data=st.data())
    def look(self, data: st.DataObject) -> None:
        """What a GET says is what the model says."""
        known = self.some(data, lambda _: True)
        status, body = self.run(self.ask("GET", known.url))
        if known.state == "gone":
            assert (status, body["code"]) == (404, "unknown_upload")
            return
        assert (status, body["state"]) == (200, known.state)
        if known.state == "open":
            assert body["name"] == known.promise.name
            assert known.low <= body["offset"] <= known.high
        else:
            assert {key: body[key] for key in ("name", "size", "sha256")} == known.receipt

    @precondition(lambda self: self.uploads)
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        """What is open is gone, and its socket is told; what is stored stays."""
        known = self.some(data, lambda _: True)
        status, body = self.run(self.ask("DELETE", known.url))
        if known.state == "open":
            assert status == 204
            if known.socket is not None:
                self.run(known.socket.failed("cancelled", 4404))
            self.over(known, "gone")
        elif known.state == "stored":
            assert (status, body["code"]) == (409, "already_stored")
        else:
            assert (status, body["code"]) == (404, "unknown_upload")

    @precondition(lambda self: self.uploads)
    @rule(data=st.data())
    def attach(self, data: st.DataObject) -> None:
        """`ready` where it is open, and whoever was there is superseded; the receipt where it is stored."""
        self.attach_to(self.some(data, lambda _: True))

    @precondition(lambda self: self.any_(lambda known: known.socket is not None))
    @rule(
        data=st.data(), share=st.sampled_from([0.5, 0.1, 1.0, 0.0]), parts=st.integers(1, 4),
        wait=st.sampled_from([None, "acked", "durable"]),
    )  # fmt: skip
    def send(self, data: st.DataObject, share: float, parts: int, wait: str | None) -> None:
        """Bytes in one frame or in fragments; the client waits for an ack, or does not."""
        self.send_to(self.some(data, lambda known: known.socket is not None), share, parts, wait)

    @precondition(lambda self: self.any_(lambda known: known.socket is not None))
    @rule(data=st.data())
    def restart(self, data: st.DataObject) -> None:
        """The bytes are forgotten; what is sent now is another file."""
        known = self.some(data, lambda known: known.socket is not None)
        assert known.socket is not None
        self.run(known.socket.json(type="restart"))
        self.made += 1
        self.forget(known)
        ready = self.run(known.socket.message("ready"))
        known.socket.acks.clear()
        if known.promise.sha256 is None:
            known.content = content(self.made, len(known.content))
        self.welcome(known, ready)

    @precondition(lambda self: self.any_(lambda known: known.socket is not None))
    @rule(data=st.data())
    def send_too_much(self, data: st.DataObject) -> None:
        """One byte more than was promised: `too_large`, and the promised ones are kept."""
        known = self.some(data, lambda known: known.socket is not None)
        if known.promise.size is None:
            return
        self.run(self.send_rest(known, b"!"))
        assert known.socket is not None
        self.run(known.socket.failed("too_large", 4413))
        known.low = known.high
        self.left(known)

    @precondition(lambda self: self.any_(lambda known: known.socket is not None))
    @rule(data=st.data(), whole=st.sampled_from([True, True, False]), said=st.sampled_from(["right", None, "wrong"]))
    def end(self, data: st.DataObject, whole: bool, said: str | None) -> None:
        """Receipt or error, as the model has it; mostly after the rest of the bytes."""
        known = self.some(data, lambda known: known.socket is not None)
        assert known.socket is not None
        if whole:
            self.run(self.send_rest(known))
        sent = known.content[: known.high]
        promised = {"right": digest(sent), "wrong": digest(sent + b"!"), None: None}[said]
        self.run(known.socket.end(**({} if promised is None else {"sha256": promised})))
        code, close = self.outcome(known, promised)
        if code is not None:
            self.run(known.socket.failed(code, close))
            self.failed(known, code)
            return
        found = self.run(known.socket.message("stored"))
        assert {key: found[key] for key in known.receipt} == known.receipt
        assert self.run(known.socket.closed()).code == 1000
        self.over(known, "stored")

    @precondition(lambda self: self.any_(lambda known: known.socket is not None))
    @rule(data=st.data(), how=st.sampled_from(sorted(ORDERLY)))
    def leave(self, data: st.DataObject, how: str) -> None:
        """Everything that was sent is kept; a plain upload is stored by a polite Close, and by nothing else."""
        known = self.some(data, lambda known: known.socket is not None)
        assert known.socket is not None
        if known.promise.plain and how in ENDINGS:
            self.run(known.socket.close(1000 if how == "close 1000" else None))
            code, close = self.outcome(known, None)
            found = self.run(self.last(known.socket))
            if code is None:
                assert found == Closed(1000, f"stored {known.receipt['size']} sha256:{known.receipt['sha256']}")
                self.over(known, "stored")
            else:
                assert found.code == close
                self.failed(known, code)
            return
        self.run(ORDERLY[how](known.socket))
        if known.high > known.low:
            known.aged = False
        known.low = known.high
        self.left(known)

    @precondition(lambda self: self.any_(lambda known: known.socket is not None and known.high < len(known.content)))
    @rule(data=st.data(), share=st.sampled_from([0.5, 0.1]), how=st.sampled_from(["reset", *sorted(ORDERLY)]))
    def resume(self, data: st.DataObject, share: float, how: str) -> None:
        """Some bytes, gone in one way or another without an end, and back at once."""
        known = self.some(data, lambda known: known.socket is not None and known.high < len(known.content))
        if known.aged or (known.promise.plain and how in ENDINGS):
            return
        self.send_to(known, share, 2, None)
        assert known.socket is not None
        if how == "reset":
            known.socket.reset()
            self.drop(known)
        else:
            self.run(ORDERLY[how](known.socket))
            known.low = known.high
            self.left(known)
        self.attach_to(known)

    @precondition(lambda self: self.any_(lambda known: known.socket is not None and not known.aged))
    @rule(data=st.data())
    def break_off(self, data: st.DataObject) -> None:
        """A reset: what was acknowledged is kept, of the rest nobody knows how much."""
        known = self.some(data, lambda known: known.socket is not None and not known.aged)
        assert known.socket is not None
        known.socket.reset()
        self.drop(known)

    @precondition(lambda self: self.moves > 10)
    @rule()
    def let_time_pass(self) -> None:
        """Two hours: all that is open without a socket expires, and receipts that are older than nine."""
        self.moves = 0
        self.run(self.settled())
        for known in self.uploads:
            if known.socket is not None and known.high > known.low:  # else the bytes may come before or after
                self.run(known.socket.acked(known.high))
                known.low = known.high
        self.clock.ahead += 2 * HOUR
        for known in self.uploads:
            known.aged = True
            known.jumps += known.state == "stored"
            if (known.state == "open" and known.socket is None) or known.jumps * 2 > 9:
                known.state = "gone"
        self.run(self.service.handler.uploads.sweep())

    @precondition(lambda self: self.moves > 4 and self.any_(lambda known: known.socket is not None))
    @rule(kill=st.booleans())
    def end_the_service(self, kill: bool) -> None:
        """Stopped, all that was acknowledged is there again; killed, all that was durable."""
        self.moves = 0
        self.run(self.settled())
        attached = [known for known in self.uploads if known.socket is not None]
        if kill:
            self.run(self.service.kill())
        else:
            self.run(self.say_goodbye(attached))
        for known in attached:
            assert known.socket is not None
            if not kill:
                self.heard(known)
                known.low = max(known.low, known.durable)
            known.state = "gone" if known.aged else known.state
        self.drop_all()
        for known in self.uploads:
            if kill and known.state == "open":
                known.low = known.durable if known in attached else known.low
        self.run(self.service.start())

    @invariant()
    def files_are_those_of_the_model(self) -> None:
        """Every file that has a receipt is there, whole, under its name; and no other."""
        self.moves += 1
        if hasattr(self, "model"):
            found = {name: hashlib.sha256(data).hexdigest() for name, data in self.service.place.files().items()}
            assert found == {name: digest(data) for name, data in self.model.disk.files.items()}


TestModel = UploadsAsModelled.TestCase
TestModel.settings = settings(max_examples=10, stateful_step_count=30, suppress_health_check=CHECKS)


@pytest.mark.torture
class TestModelAtLength(UploadsAsModelled.TestCase):  # type: ignore[misc]
    """The same, for as long as one likes to wait."""

    settings = settings(max_examples=300, stateful_step_count=60, suppress_health_check=CHECKS)
