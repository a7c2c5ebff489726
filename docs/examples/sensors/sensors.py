import asyncio
import csv
import struct
from pathlib import Path
from typing import Any

from jackfield import Buffers, Connection, Directory, Handler, HandlerOptions, Size

RECORD = struct.Struct("<dHf")  # seconds since 1970, the sensor's number, the value


class Options(HandlerOptions):
    directory: Directory = Path("sensors")
    memory: Size = 64 * 2**20  # bytes received and not yet written, all sockets together


class Sensors(Handler[Options]):
    """Measurements, as binary records in messages of any length, appended to a CSV file."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.buffers = Buffers(self.options.memory)
        self.writing = asyncio.Lock()

    async def serve(self, connection: Connection) -> None:
        rest, count = b"", 0  # the beginning of a record whose end has not come; records written
        while True:
            item = await connection.take(least=64 * 1024, patience=0.1)
            if isinstance(item, str):  # any text asks how far we are
                await connection.send(str(count))
                continue
            async with connection.shielded(), self.writing:  # not given up between two records when the client leaves
                with item:
                    data = b"".join([rest, *item.views])
                whole = len(data) - len(data) % RECORD.size
                await asyncio.to_thread(self.append, data[:whole])
            rest, count = data[whole:], count + whole // RECORD.size

    def append(self, data: bytes) -> None:
        """Write whole records, in a thread."""
        self.options.directory.mkdir(parents=True, exist_ok=True)
        with (self.options.directory / "values.csv").open("a", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows(RECORD.iter_unpack(data))
