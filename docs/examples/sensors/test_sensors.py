import csv
from pathlib import Path

from sensors import RECORD

from jackfield.testing import JackfieldServer

SECTION = {"use": "sensors:Sensors", "path": "/sensors", "directory": "values"}
RECORDS = [(1000.5 + number, number % 7, number / 4) for number in range(10_000)]
DATA = b"".join(RECORD.pack(*record) for record in RECORDS)


def stored(folder: Path) -> list[tuple[float, int, float]]:
    with (folder / "values/values.csv").open(encoding="utf-8", newline="") as file:
        return [(float(when), int(sensor), float(value)) for when, sensor, value in csv.reader(file)]


async def test_all_records_are_written(jackfield_server: JackfieldServer, tmp_path: Path) -> None:
    service = await jackfield_server({"sensors": SECTION})
    async with service.ws_connect("/sensors") as socket:
        for begin in range(0, len(DATA), 33_333):  # no message ends where a record does
            await socket.send_bytes(DATA[begin : begin + 33_333])
        await socket.send_str("how many?")
        assert await socket.receive_str(timeout=10) == "10000"
    assert stored(tmp_path) == RECORDS


async def test_a_link_that_is_cut_leaves_whole_records(jackfield_server: JackfieldServer, tmp_path: Path) -> None:
    service = await jackfield_server({"sensors": SECTION})
    async with service.raw("/sensors", cut_after=100_007) as client:
        await client.send(DATA)
        await service.ended()
    found = stored(tmp_path)
    assert found == RECORDS[: len(found)]
    assert len(found) >= 7000
