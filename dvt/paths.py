"""Paths as people write them."""

from pathlib import Path

from dvt.errors import ConfigError


def expand_home(path: str | Path) -> Path:
    """The path with a leading `~` or `~user` replaced; a file that is merely called `~something` is left alone.

    Raises:
        ConfigError: `~` or `~/...`, and the home folder of this user is not known.

    Examples:
        >>> expand_home("~no such user/a"), expand_home("a/~")
        (PosixPath('~no such user/a'), PosixPath('a/~'))
    """
    try:
        return Path(path).expanduser()
    except ValueError:  # a null character
        return Path(path)
    except RuntimeError as error:
        if Path(path).parts[0] != "~":  # no such user
            return Path(path)
        raise ConfigError(
            f"{path}: the home folder of this user is not known (HOME is not set, and the system has no entry for the"
            " user). Write the path in full, or set HOME."
        ) from error
