"""Messages on stderr, and exit codes."""

import sys
from collections.abc import Mapping

MISSING = "???"
"""How OmegaConf marks an option that must be given."""

DONE = 0
CRASH = 1
"""A fault of ours, with its traceback; or `dvt export` whose result differs from PyTorch by more than is accepted."""
USAGE = 2
"""Something the user can fix: an option, a file, the disk."""
SOME_FAILED = 3
"""Finished, but some items failed; each was named."""
INTERRUPTED = 130
"""Ctrl-C, or SIGTERM."""
NO_READER = 141
"""The reader of the output has closed it, as in `dvt --help | head -1`."""


def say(text: str) -> None:
    """Print a message."""
    print(text, file=sys.stderr, flush=True)


def say_failures(failed: Mapping[str, str]) -> None:
    """Print a line for every item that failed: its name, control characters escaped, and the reason."""
    for name, reason in failed.items():
        shown = "".join(character if character.isprintable() else ascii(character)[1:-1] for character in name)
        say(f"failed: {shown}: {reason}")


def complain(text: str, code: int = USAGE) -> int:
    """Print an error; returns the exit code."""
    say(f"dvt: {text}")
    return code
