"""From `use:` in config.yaml to the class of a handler: the service knows none by name.

`use: upload` is a name of the entry-point group `jackfield.handlers`, to which any installed package may add;
`use: module:Class` needs no installation.
"""

import importlib
import sys
import traceback
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType
from typing import Final

from jackfield.app.handler import Handler, HandlerOptions

RESERVED = frozenset({"use", "path"})
"""What the service itself reads in a handler's section; no Options may have these names."""


class RegistryError(ValueError):
    """A `use:` that leads to no handler; the message says why."""


_FOLDERS: Final[set[Path]] = set()
"""Those of configurations. Where there are several in one process, each may have a module of the same name."""


def make_importable(folder: Path) -> None:
    """Let modules beside config.yaml be imported.

    The folder comes last: a file there must not shadow the standard library, an installed package or
    our own by having the same name.
    """
    _FOLDERS.add(folder)
    if str(folder) not in sys.path:
        sys.path.append(str(folder))


def resolve(use: str) -> type[Handler]:
    """The class that `use` names: an entry point of the group `jackfield.handlers`, or `module:Class`.

    Raises RegistryError.
    """
    module_name, _, class_name = (use if ":" in use else _entry_point(use)).partition(":")
    if not class_name.isidentifier() or not all(part.isidentifier() for part in module_name.split(".")):
        raise RegistryError("expected the name of a handler, as in upload, or module:Class, as in echo:Echo")
    module = _import(module_name)
    where = f"module {module_name} ({module.__file__})"  # the path shows when another one was found
    found = getattr(module, class_name, None)
    if found is None:
        raise RegistryError(f"{where} has no class {class_name}")
    if not isinstance(found, type) or not issubclass(found, Handler):
        raise RegistryError(f"{class_name} in {where} is not a subclass of jackfield.app.handler.Handler")
    _check(found)
    return found


def _entry_point(name: str) -> str:
    """What the name stands for; its installed package may have been taken out, and then the import says so."""
    known = {entry.name: entry.value for entry in entry_points(group="jackfield.handlers")}
    if name not in known:
        names = ", ".join(sorted(known)) or "none"
        raise RegistryError(f"there is no handler {name} (installed: {names}), and it is not module:Class")
    return known[name]


def _import(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name and f"{name}.".startswith(f"{error.name}."):
            raise RegistryError(f"there is no module {error.name}") from None
        raise RegistryError(_failed(name, error)) from error
    except (Exception, SystemExit) as error:
        raise RegistryError(_failed(name, error)) from error


def check_place(use: str, folder: Path) -> None:
    """Python has one module of a name: raises RegistryError where that which was found is another configuration's.

    `folder` is that of the configuration, which has one, too.
    """
    top = use.partition(":")[0].partition(".")[0]
    if top not in sys.modules:
        return  # an entry point
    file = Path(sys.modules[top].__file__ or "")
    place = file.parent.parent if file.name == "__init__.py" else file.parent
    own = next((path for path in (folder / f"{top}.py", folder / top) if path.exists()), None)
    if own is not None and place != folder and place in _FOLDERS:
        raise RegistryError(f"another configuration has a module {top} too, {file}: rename {own}")


def _failed(name: str, error: BaseException) -> str:
    """Why a module that exists could not be imported, and the line that raised."""
    last = traceback.extract_tb(error.__traceback__)[-1]
    at = error if isinstance(error, SyntaxError) else last
    return f"importing {name} failed: {type(error).__name__}: {error} ({at.filename}:{at.lineno})"


def _check(factory: type[Handler]) -> None:
    """What would fail later, at the first socket, or confuse the sections of config.yaml."""
    if factory.serve is Handler.serve:
        raise RegistryError(f"{factory.__name__} has no method serve")
    if not (isinstance(factory.Options, type) and issubclass(factory.Options, HandlerOptions)):
        raise RegistryError(f"{factory.__name__}.Options is not a subclass of jackfield.app.handler.HandlerOptions")
    if clash := RESERVED & factory.Options.model_fields.keys():
        raise RegistryError(f"{factory.__name__}.Options may not have {' or '.join(sorted(clash))}")
