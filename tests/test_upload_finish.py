"""A finish goes on by itself, whatever becomes of who asked for it."""

import asyncio
import gc
from types import SimpleNamespace
from typing import Any, cast

from jackfield.handlers.upload.uploads.upload import OpenUpload
from jackfield.handlers.upload.wire.messages import Promise
from tests.support.writer import Owner


async def test_a_failure_that_nobody_waits_for_is_no_fault() -> None:
    """A socket that was taken over before it could wait for its finish leaves no exception that nobody has seen."""
    faults: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: faults.append(context))
    nothing = cast("Any", None)
    upload = OpenUpload("0" * 64, Promise("a"), cast("Any", SimpleNamespace(offset=0)), nothing, nothing, Owner())
    finishing = upload.finish(cast("Any", "a session that holds it no more"), [])
    await asyncio.wait([finishing])
    upload.finishing = None
    del finishing
    gc.collect()
    assert not faults
