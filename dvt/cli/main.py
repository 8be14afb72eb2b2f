"""The `dvt` command: finds the verb, and turns every end of it into an exit code and a text for people.

Exit codes: 0 done, 1 crash, 2 wrong usage or config, 3 finished but some items failed, 130 interrupted.
"""

import signal
import sys
from difflib import get_close_matches
from importlib import import_module
from types import FrameType

VERBS = {
    "decompose": "clean features of images, into a store (stage 1)",
    "show": "pictures of the raw, clean, artifact and residual features of an image",
    "store": "what is in a feature store (status), whether it is whole (verify)",
}

PAGE = """\
dvt: clean Vision Transformer features.   raw = clean + artifact + residual

usage: dvt VERB [key=value ...]

{verbs}

dvt VERB --help tells the options of a verb; dvt --version the version.
"""

DONE, CRASH, USAGE, SOME_FAILED, INTERRUPTED = 0, 1, 2, 3, 130


def main() -> None:
    """The console command."""
    sys.exit(run(sys.argv[1:]))


def run(arguments: list[str]) -> int:
    """Run a command line and return its exit code."""
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(PAGE.format(verbs="\n".join(f"  dvt {verb:<12} {text}" for verb, text in VERBS.items())), end="")
        return DONE if arguments else USAGE
    if arguments[0] == "--version":
        from dvt.version import __version__

        print(f"dvt {__version__}")
        return DONE
    verb, rest = arguments[0], arguments[1:]
    if verb not in VERBS:
        near = get_close_matches(verb, VERBS, n=2)
        hint = f"did you mean dvt {' or dvt '.join(near)}?" if near else f"there are {', '.join(VERBS)}."
        return _complain(f"there is no verb {verb!r}: {hint}", USAGE)
    module = import_module(f"dvt.cli.{verb}")
    if any(argument in ("-h", "--help") for argument in rest):
        print(module.help_page())
        return DONE
    signal.signal(signal.SIGTERM, _interrupt)  # batch systems end jobs this way: the same clean end as Ctrl-C
    try:
        return int(module.run(rest))
    except KeyboardInterrupt:
        return _complain("interrupted.", INTERRUPTED)
    except Exception as error:
        text = _text(error, verb, module)
        if text is None:
            raise
        return _complain(text, USAGE)


def _text(error: Exception, verb: str, module: object) -> str | None:
    from dvt.errors import DvtError

    if isinstance(error, DvtError):
        return str(error)
    if not hasattr(module, "Options"):
        return None
    from dvt.cli.messages import usage_text

    return usage_text(error, verb, module.Options)


def _complain(text: str, code: int) -> int:
    print(f"dvt: {text}", file=sys.stderr)
    return code


def _interrupt(signum: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt
