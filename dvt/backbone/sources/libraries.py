"""Libraries that a source needs."""

from importlib.util import find_spec

from dvt.errors import BackboneError


def require(package: str, source: str, install: str) -> None:
    """Refuse a source whose library is not installed.

    Args:
        package: name that it is imported by.
        source: the source, for the error.
        install: what to install.

    Raises:
        BackboneError: it is not installed.
    """
    if find_spec(package) is None:
        raise BackboneError(f"backbone.source={source} needs {package}: pip install '{install}'.")
