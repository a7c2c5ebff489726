"""The machine that was measured, by what matters and by nothing that would name it."""

import os
import platform
import subprocess
from pathlib import Path

from benchmarks.payload import GIB


def describe(folder: Path) -> dict[str, str]:
    """Processor, cores, memory, kernel, the file system under `folder`, and the Python that runs the service."""
    return {
        "processor": _field("/proc/cpuinfo", "model name"),
        "cores": f"{len(os.sched_getaffinity(0))} cores",
        "memory": f"{int(_field('/proc/meminfo', 'MemTotal').split()[0]) * 1024 / GIB:.0f} GiB of memory",
        "kernel": f"Linux {platform.release()}",
        "file system": file_system(folder),
        "Python": f"Python {platform.python_version()}",
    }


def revision() -> str:
    """The commit that was measured, with a + where the tree differs from it."""

    def git(*words: str) -> str:
        done = subprocess.run(["git", *words], cwd=Path(__file__).parent, capture_output=True, text=True, check=False)
        return done.stdout.strip()

    return git("rev-parse", "--short", "HEAD") + (
        "+" if git("status", "--porcelain", "-uno", "../app", "../handlers") else ""
    )


def file_system(folder: Path) -> str:
    """The kind of file system that a folder lies on."""
    best, kind = "", "unknown"
    for line in Path("/proc/mounts").read_text(encoding="utf-8").splitlines():
        _, place, name, *_ = line.split()
        if folder.is_relative_to(place) and len(place) >= len(best):
            best, kind = place, name
    return kind


def _field(path: str, key: str) -> str:
    for line in Path(path).read_text(encoding="utf-8").splitlines():
        name, _, value = line.partition(":")
        if name.strip() == key:
            return value.strip()
    return "unknown"
