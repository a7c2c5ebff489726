"""The Python client's `upload_many` against the real service."""

from pathlib import Path

import aiohttp

from jackfield.handlers.upload.client import Receipt, UploadError, upload_many
from tests.support.service import running_service

FILES = 400


async def test_refused_files_leave_nothing_open(tmp_path: Path) -> None:
    """Files whose names are taken are told as such and cancelled: however many they are, they do not use up the uploads
    that may be open, and the others are stored."""
    source = tmp_path / "source"
    source.mkdir()
    outcomes: dict[str, Receipt | UploadError | OSError] = {}
    with running_service(tmp_path, upload={"on_conflict": "reject", "max_open": FILES - 100}) as service:
        for number in range(FILES):
            (source / f"{number}").write_bytes(b"new")
            if number % 10:
                (service.directory() / f"{number}").write_bytes(b"old")
        names = [(source / f"{number}", f"{number}") for number in range(FILES)]
        async with aiohttp.ClientSession() as session:
            await upload_many(session, service.url, names, done=lambda path, how: outcomes.update({path: how}))
            async with session.get(f"{service.url}/metrics") as answer:
                metrics = await answer.text()
        told = {Path(path).name: getattr(outcome, "code", "stored") for path, outcome in outcomes.items()}
        assert told == {f"{number}": "name_taken" if number % 10 else "stored" for number in range(FILES)}
        assert 'jackfield_upload_open{handler="upload"} 0.0\n' in metrics
