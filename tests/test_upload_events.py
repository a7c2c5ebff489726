"""Events in a store, and what is told of them: records, CloudEvents, and what a start makes of the files there are."""

import json
from pathlib import Path

import pytest

from jackfield.handlers.upload.hooks.arrival import arrival, id_of, requested_event, stored_event
from jackfield.handlers.upload.store import events, records
from jackfield.handlers.upload.store.disk import Disk
from jackfield.handlers.upload.store.events import Event, Events
from jackfield.handlers.upload.store.records import DeadLetter, Member, Stored
from jackfield.handlers.upload.store.staging import Staging
from jackfield.handlers.upload.wire.messages import Origin, Promise, Receipt

KEYS = [f"{number:064x}" for number in range(5)]
DIGEST = "a" * 64
ORIGIN = Origin("alice/a.bin", "alice", "192.0.2.1", 1_000_000_000.0)
STORED = Stored(Receipt("alice/a.bin", 5, DIGEST), Promise("a.bin", 5, origin=ORIGIN), 1_000_000_001.5)


# -- records


def test_a_dead_letter_reads_as_a_receipt() -> None:
    """So that it is an event again under another name; alone it has the problem, too."""
    letter = DeadLetter(STORED.receipt, STORED.asked, STORED.when, "answered 500")
    data = records.write_dead_letter(letter)
    assert records.read_dead_letter(data) == letter
    assert records.read_stored(data) == STORED


def test_one_of_a_group_is_found() -> None:
    """By its key, wherever it stands; a torn line is invalid, and one that is not there is None."""
    members = [Member(key, 7, STORED.receipt, STORED.asked, STORED.when) for key in KEYS]
    data = records.write_group(members)
    assert all(records.find_member(data, key) == STORED for key in KEYS)
    assert records.find_member(data, "f" * 64) is None
    with pytest.raises(ValueError, match="torn"):
        records.find_member(data[:-1], KEYS[-1])


def test_a_name_that_leads_out_is_no_record() -> None:
    """Also the one under which it is to be stored."""
    wrong = Promise("a.bin", origin=Origin("../a.bin", None, "", 0.0))
    with pytest.raises(ValueError, match="full stop"):
        records.read_stored(records.write_stored(Stored(STORED.receipt, wrong, 0.0)))


# -- what is told


def test_an_arrival_is_told_as_a_cloud_event() -> None:
    """Whatever the client has said is there, and nothing that it has not."""
    told = arrival(KEYS[1], STORED, "/srv")
    assert (told.id, told.path, told.created, told.stored) == (
        "0" * 32, "/srv/alice/a.bin", "2001-09-09T01:46:40.000Z", "2001-09-09T01:46:41.500Z",
    )  # fmt: skip
    event = json.loads(stored_event(told, "/upload"))
    assert event["id"] == told.id
    assert "mtime" not in event["data"]
    assert "metadata" not in event["data"]
    promise = Promise("a.bin", 5, mtime=1_000_000_000_500_000_000, metadata="filename YS5iaW4=,empty")
    told = arrival(KEYS[1], Stored(STORED.receipt, promise, 0.0), "/srv")
    assert (told.user, told.remote, told.created) == (None, None, "1970-01-01T00:00:00.000Z")
    data = json.loads(stored_event(told, "/upload"))["data"]
    assert (data["mtime"], data["metadata"]) == ("2001-09-09T01:46:40.5Z", {"filename": "a.bin", "empty": ""})


def test_a_question_is_a_cloud_event() -> None:
    """With what the client has said, and who it is; its subject is the name under which the file would be stored."""
    event = json.loads(requested_event(KEYS[1], STORED.asked, "/upload"))
    assert (event["type"], event["id"], event["subject"]) == (
        "io.jackfield.upload.requested", id_of(KEYS[1]), "alice/a.bin",
    )  # fmt: skip
    assert event["data"] == {"name": "a.bin", "size": 5, "sha256": None, "user": "alice", "remote": "192.0.2.1"}


# -- the files


@pytest.fixture
def staging(tmp_path: Path) -> Staging:
    """A staging folder with a group of three, whose events they are, and one file by itself."""
    found = Staging(tmp_path, Disk(), announces=True)
    found.folder.mkdir()
    members = [Member(key, 7, STORED.receipt, STORED.asked, STORED.when) for key in KEYS[:3]]
    found.write_group(found.receipts(KEYS[0]), members, found.events(KEYS[0]), sync=False)
    found.save_receipt(KEYS[3], STORED)
    return found


def opened(staging: Staging) -> Events:
    """The events as a start finds them."""
    found = Events(staging)
    found.open()
    return found


def test_a_start_finds_what_is_still_to_be_told(staging: Staging) -> None:
    """Those of a group one by one; when all are told nothing is left of them but receipts."""
    found = opened(staging)
    assert [event.key for event in found.arrived] == [KEYS[3], *KEYS[:3]]
    assert found.read(found.arrived[0]) is not None
    for event in list(found.arrived)[:2]:
        found.told(event)
    found = opened(staging)
    assert [event.key for event in found.arrived] == KEYS[1:3]
    stored = found.read(found.arrived[0])
    assert stored is not None
    assert stored[0] == STORED
    for event in list(found.arrived):
        found.told(event)
    assert not opened(staging).arrived
    assert {path.suffix for path in staging.folder.iterdir()} == {".receipt", ".receipts"}


def test_a_torn_note_tells_once_more(staging: Staging) -> None:
    """Half a line says nothing; a note without its group is removed."""
    staging.told(KEYS[0]).write_text(KEYS[1][:10], encoding="ascii")
    staging.told("f" * 64).write_text(KEYS[1], encoding="ascii")
    assert len(opened(staging).arrived) == 4
    assert not staging.told("f" * 64).exists()
    for key in KEYS[:3]:
        staging.disk.append(staging.told(KEYS[0]), f"\n{key}\n".encode())
    assert [event.key for event in opened(staging).arrived] == [KEYS[3]]
    assert not staging.events(KEYS[0]).exists()


def test_what_an_operator_has_taken_away_is_gone(staging: Staging) -> None:
    """Nothing is told of it, and nothing fails."""
    found = opened(staging)
    staging.event(KEYS[3]).unlink()
    staging.events(KEYS[0]).unlink()
    assert [found.read(event) for event in found.arrived] == [None] * 4


def test_a_dead_letter_can_be_told_again(staging: Staging) -> None:
    """One by itself and one of a group; a service that runs hears of those that it does not know."""
    found = opened(staging)
    for event in list(found.arrived)[:2]:
        found.give_up(event, STORED, "answered 410")
    assert [(key, letter.problem) for key, letter in events.dead_letters(staging)] == [
        (KEYS[0], "answered 410"), (KEYS[3], "answered 410"),
    ]  # fmt: skip
    assert [key for key, _ in events.waiting(staging)] == KEYS[1:3]
    assert not found.retried
    events.retry(staging, [KEYS[0], KEYS[3]])
    assert found.retried
    found.arrived.clear()
    found.add_retried([KEYS[3]])
    assert [event.key for event in found.arrived] == [KEYS[0]]
    assert not found.retried
    assert len(opened(staging).arrived) == 4


def test_what_is_no_event_yet_is_not_listed(staging: Staging) -> None:
    """The second name of what has no receipt yet does not count."""
    staging.group(KEYS[0]).touch()
    staging.manifest(KEYS[3]).touch()
    assert list(events.waiting(staging)) == []


def test_nothing_is_announced_where_nobody_listens(tmp_path: Path) -> None:
    """No second name is made, and nothing is kept in memory."""
    found = Staging(tmp_path, Disk())
    found.folder.mkdir()
    found.save_receipt(KEYS[0], STORED)
    nobody = Events(found)
    nobody.add(KEYS[0])
    nobody.add_group(KEYS[0], KEYS)
    assert not nobody.arrived
    assert [path.suffix for path in found.folder.iterdir()] == [".receipt"]
    assert nobody.read(Event(KEYS[0])) is None
