"""Things of the user's own, named in settings as `package.module:Name`."""

import importlib
import sys
from pathlib import Path
from typing import Any

from tunny.core.errors import ConfigError, did_you_mean


def named(name: str, where: str) -> Any:
    """Return what a name stands for, modules of the working folder included; raise ConfigError where there is no such thing."""
    module, _, thing = name.partition(":")
    if str(Path.cwd()) not in sys.path:
        sys.path.append(str(Path.cwd()))
    try:
        found = importlib.import_module(module)
    except Exception as error:
        raise ConfigError(
            f"{where}: {module} cannot be imported: {type(error).__name__}: {error}. It is looked for in {Path.cwd()} and where Python looks."
        ) from error
    if not hasattr(found, thing):
        raise ConfigError(f"{where}: {module} has no {thing!r}{did_you_mean(thing, vars(found))}")
    return getattr(found, thing)
