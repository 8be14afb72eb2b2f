"""The `dvt` command: finds the verb, and turns every end of it into an exit code and a text for people.

Exit codes: 0 done, 1 crash (or an export that differs from PyTorch), 2 wrong usage or config, 3 finished but some items
failed, 130 interrupted. The modules of the verbs have the same two functions: `help_page()` and `run(arguments)`.
"""

import os
import signal
import sys
from difflib import get_close_matches
from importlib import import_module
from types import FrameType

from dvt.cli.console import DONE, INTERRUPTED, NO_READER, USAGE, complain

VERBS = {
    "demo": "the whole story on six photographs, offline, in minutes",
    "decompose": "clean features of images, into a store (stage 1)",
    "train": "a denoiser from a store (stage 2)",
    "distill": "a ViT that is clean by itself, from a ViT with a denoiser (stage 3)",
    "show": "pictures of features, method beside method, of images and videos",
    "evaluate": "numbers, method beside method, in tasks on labelled data",
    "doctor": "does a ViT have artifacts, of which kind, and what to do; env: versions and devices",
    "store": "what is in a feature store (status), whether it is whole (verify)",
    "convert": "released denoisers: list them, write them as model folders, or ours as the original's files",
    "export": "a backbone, raw or denoised, as ONNX, torch.export or safetensors, checked against PyTorch",
}

PAGE = """\
dvt: clean Vision Transformer features.   raw = clean + artifact + residual

usage: dvt VERB [key=value ...]

{verbs}

dvt VERB --help tells the options of a verb; dvt --version the version."""

_HELP = ("-h", "--help")


def main() -> None:
    """The console command: `run`, and the manners of a process towards signals and pipes."""
    asked_to_stop: list[int] = []

    def stop(signum: int, frame: FrameType | None) -> None:
        asked_to_stop.append(signum)
        raise KeyboardInterrupt

    for signum in (signal.SIGINT, signal.SIGTERM):  # batch systems end jobs by SIGTERM: the same clean end as Ctrl-C
        if signal.getsignal(signum) is not signal.SIG_IGN:
            signal.signal(signum, stop)
    try:
        code = run(sys.argv[1:])
        if sys.stdout:
            sys.stdout.flush()
    except BrokenPipeError:
        code = NO_READER
        _silence()
    except Exception:
        if not asked_to_stop:
            raise
        code = _interrupted()  # an import that is cut short fails in ways of its own
    sys.exit(code)


def run(arguments: list[str]) -> int:
    """Run a command line and return its exit code; an error of ours comes out as it is."""
    try:
        return _dispatch(arguments)
    except KeyboardInterrupt:
        return _interrupted()


def _dispatch(arguments: list[str]) -> int:
    if not arguments or arguments[0] in (*_HELP, "help"):
        print(PAGE.format(verbs="\n".join(f"  dvt {verb:<12} {text}" for verb, text in VERBS.items())))
        return DONE if arguments else USAGE
    if "--version" in arguments:
        from dvt.version import __version__

        print(f"dvt {__version__}")
        return DONE
    verb, rest = arguments[0], arguments[1:]
    if verb not in VERBS:
        near = get_close_matches(verb, VERBS, n=2)
        hint = f"did you mean dvt {' or dvt '.join(near)}?" if near else f"there are {', '.join(VERBS)}."
        return complain(f"there is no verb {verb!r}: {hint}")
    module = import_module(f"dvt.cli.{verb}")
    if any(argument in _HELP for argument in rest):
        print(module.help_page())
        return DONE
    return int(module.run(rest))


def _interrupted() -> int:
    return complain("interrupted. Run the same command again.", INTERRUPTED)


def _silence() -> None:
    """Send what is still to be flushed nowhere: the interpreter would complain of the pipe at its end."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (sys.stdout, sys.stderr):
        if stream:
            os.dup2(nowhere, stream.fileno())
