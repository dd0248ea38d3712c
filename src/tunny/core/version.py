"""The version, at the bottom of the house so that every floor can name it."""

import contextlib
from importlib.metadata import PackageNotFoundError, version
from platform import python_version

__version__ = "0.1.0"


def versions() -> dict[str, str]:
    """Return the versions of Python and the packages that numbers depend on."""
    found = {"python": python_version()}
    for package in ("torch", "transformers", "tokenizers", "safetensors", "numpy", "pyarrow", "pydantic"):
        with contextlib.suppress(PackageNotFoundError):
            found[package] = version(package)
    return found
