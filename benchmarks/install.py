"""The peers: pinned, and installed below this folder by the same command that measures them.

What cannot be installed is left out of the rows, with a line that says so.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Final

HERE: Final = Path(__file__).parent
SCRIPTS: Final = HERE / "peers"
INSTALLED: Final = HERE / ".peers"
PYTHON: Final = INSTALLED / "venv" / "bin" / "python"

PYPI: Final = {
    "websockets": ["websockets==17.4"],
    "picows": ["picows==2.3.1"],
    "tuspyserver": ["tuspyserver==4.4.3", "fastapi==0.165.0", "uvicorn[standard]==0.54.0"],
}
NPM: Final = {
    "ws": ["ws@8.23.0"],
    "@tus/server": ["@tus/server@2.4.5", "@tus/file-store@2.1.1"],
}
DEBIAN: Final = {"nginx": "nginx-light", "curl": "curl"}

_LIMIT: Final = 600.0  # seconds that one installation may take


@cache
def missing(name: str) -> str:
    """Why a peer is not to be had; empty where it is there, if need be because this call has installed it."""
    INSTALLED.mkdir(exist_ok=True)
    if name in PYPI:
        return _once(name, PYPI[name], _pip)
    if name in NPM:
        for script in SCRIPTS.glob("*.mjs"):  # node looks for modules beside the script
            shutil.copy(script, INSTALLED)
        return _once(name, NPM[name], _npm)
    return _apt(name, DEBIAN[name])


def version(name: str) -> str:
    """The peer's version: the pinned one, or what nginx and curl say of themselves."""
    for pins, sign in ((PYPI, "=="), (NPM, "@")):
        if name in pins:
            return pins[name][0].rpartition(sign)[2]
    command = {"nginx": ["nginx", "-v"], "curl": ["curl", "--version"]}[name]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    words = (done.stdout or done.stderr).replace("/", " ").split()
    return next((word for word in words if word[0].isdigit()), "")


def _once(name: str, packages: Sequence[str], installer: Callable[[Sequence[str]], str]) -> str:
    """Install, unless a mark says that these very versions are there."""
    mark = INSTALLED / f"{name.replace('/', '-')}.installed"
    wanted = "\n".join(packages)
    if mark.exists() and mark.read_text(encoding="ascii") == wanted:
        return ""
    print(f"installing {name} ...", flush=True)
    why = installer(packages)
    if not why:
        mark.write_text(wanted, encoding="ascii")
    return why


def _pip(packages: Sequence[str]) -> str:
    if not PYTHON.exists():
        why = _run([sys.executable, "-m", "venv", str(INSTALLED / "venv")])
        if why:
            return why
    return _run([str(PYTHON), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *packages])


def _npm(packages: Sequence[str]) -> str:
    quiet = ["--silent", "--no-audit", "--no-fund", "--no-package-lock"]
    return _run(["npm", "install", *quiet, "--prefix", str(INSTALLED), *packages])


def _apt(name: str, package: str) -> str:
    if shutil.which(name):
        return ""
    if os.geteuid() != 0:
        return f"not installed; Debian has it as {package}"
    print(f"installing {package} ...", flush=True)
    return _run(["apt-get", "install", "-y", "-qq", "--no-install-recommends", package])


def _run(command: Sequence[str]) -> str:
    """Run to the end; why it failed, or nothing."""
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=_LIMIT, check=False,
            env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"},
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"cannot be installed: {error.__class__.__name__}"
    if done.returncode:
        lines = (done.stderr or done.stdout).strip().splitlines() or [""]
        return f"cannot be installed: {lines[-1][:120]}"
    return ""
