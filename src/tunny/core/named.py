"""Things of the user's own, named in settings as `package.module:Name`."""

import importlib
import inspect
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel

from tunny.core.errors import ConfigError, did_you_mean

T = TypeVar("T")


def named(name: str, where: str) -> Any:
    """Return what a name stands for, modules of the working folder included; raise ConfigError where there is no such thing."""
    module, _, thing = name.partition(":")
    if str(Path.cwd()) not in sys.path:
        sys.path.append(str(Path.cwd()))
    main = sys.modules["__main__"]
    try:
        found = main if module == _script() and hasattr(main, thing) else importlib.import_module(module)
    except Exception as error:
        why = f"{type(error).__name__}: {error}. It is looked for in {Path.cwd()} and where Python looks."
        raise ConfigError(f"{where}: {module} cannot be imported: {why}") from error
    if not hasattr(found, thing):
        raise ConfigError(f"{where}: {module} has no {thing!r}{did_you_mean(thing, vars(found))}")
    return getattr(found, thing)


def name_of(kind: type) -> str:
    """Return `package.module:Name` of a class; of one in the script that runs, the module by which others find the script."""
    return f"{_script() if kind.__module__ == '__main__' else kind.__module__}:{kind.__qualname__}"


def _script() -> str:
    """Return the name of the script that runs as a module; of a notebook there is none."""
    file = getattr(sys.modules["__main__"], "__file__", None)
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    return spec.name if spec else Path(file).stem if file else "__main__"


def made(name: str, base: type[T], options: Mapping[str, Any] | BaseModel, where: str) -> T:
    """Make a thing of the class that a name stands for: of settings, of its class `Settings` where it has one, else of options as keywords.

    Raises ConfigError where it is no subclass of `base`, lacks a method, or its options or a method's arguments do not fit.
    """
    wanted = base.__name__
    kind = named(name, where)
    if not (isinstance(kind, type) and issubclass(kind, base)):
        raise ConfigError(f"{where}: is no class of {wanted.lower()}s: expected a subclass of tunny.{wanted}, found {kind!r}")
    own: Any = kind
    try:
        if isinstance(options, BaseModel):
            thing: T = own(options)
        else:
            thing = own(own.Settings(**options)) if hasattr(own, "Settings") else own(**options)
    except Exception as error:
        raise ConfigError(f"{where}: cannot be made of {dict(options)}: {error}") from error
    for method, ours in vars(base).items():
        if inspect.isfunction(ours) and not method.startswith("_"):
            arguments = list(inspect.signature(ours).parameters)[1:]
            try:
                inspect.signature(getattr(thing, method)).bind(*arguments)
            except TypeError as error:
                raise ConfigError(f"{where}: {method}: is called as {method}({', '.join(arguments)}): {error}") from error
    return thing
