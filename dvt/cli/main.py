"""The `dvt` command: find the verb, run it, return an exit code.

Exit codes: 0 done, 1 crash (or an export that differs from PyTorch), 2 wrong usage or config, 3 finished but some items
failed, 130 interrupted.

A verb is a module of `dvt.cli`. Most are Hydra applications with `HEAD` (of the help page), `Options`, `GROUPS` (of
configs), `METRIC` (what sweepers optimise, or None) and `work(options, choices)`,
which returns a `Result`. The others have `PAGE` and `run`.
"""

import os
import signal
import sys
from difflib import get_close_matches
from importlib import import_module
from io import TextIOWrapper
from types import FrameType

from dvt.cli.completion import COMPLETE_FLAG
from dvt.cli.console import DONE, INTERRUPTED, NO_READER, USAGE, complain
from dvt.cli.help import verb_page
from dvt.errors import DvtError

VERBS = {
    "demo": "stages 1 and 2 on six images, offline, in minutes",
    "decompose": "stage 1: clean features of images, into a store",
    "train": "stage 2: a denoiser, from a store",
    "calibrate": "a denoiser without training, from a few images in a minute",
    "distill": "stage 3: a ViT that gives clean features without a denoiser",
    "show": "draw the features of images and videos, method beside method",
    "view": "the explorer live: drop an image into the browser",
    "evaluate": "score methods side by side in tasks on labelled data",
    "leaderboard": "ViTs x methods x tasks as rows with receipts, resumable, on one page",
    "doctor": "find the artifacts of a ViT and say what to do; env: versions and devices",
    "store": "what a feature store holds (status), whether it is whole (verify)",
    "convert": "list released denoisers; convert weights from and to the original's files",
    "export": "write a backbone as ONNX, torch.export or safetensors, checked against PyTorch",
}

PAGE = """\
dvt: clean Vision Transformer features.   raw = clean + artifact + residual

usage: dvt VERB [key=value ...]

{verbs}

dvt VERB --help                    options of a verb
dvt --version                      the version
dvt --shell-completion bash        completion of verbs, options and choices; also for zsh and fish.
                                   In ~/.bashrc: eval "$(dvt --shell-completion bash)\""""

_HELP = ("-h", "--help")


def main() -> None:
    """The console command: `run`, SIGTERM and broken-pipe handling."""
    signals: list[int] = []

    def stop(signum: int, frame: FrameType | None) -> None:
        signals.append(signum)
        raise KeyboardInterrupt

    for signum in (signal.SIGINT, signal.SIGTERM):  # batch systems end jobs by SIGTERM: the same clean end as Ctrl-C
        if signal.getsignal(signum) is not signal.SIG_IGN:
            signal.signal(signum, stop)
    for stream in (sys.stdout, sys.stderr):  # names of files may hold bytes that are no text
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        code = run(sys.argv[1:])
        if sys.stdout:
            sys.stdout.flush()
    except BrokenPipeError:
        code = NO_READER
        _silence()
    except Exception:
        if not signals:
            raise
        code = _interrupted()  # an import that is interrupted raises errors of its own
    sys.exit(code)


def run(arguments: list[str]) -> int:
    """Run a command line and return its exit code; a fault of ours is raised."""
    try:
        return _dispatch(arguments)
    except DvtError as error:
        return complain(str(error))
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
    if arguments[0] in ("--shell-completion", "-sc", COMPLETE_FLAG):
        return _complete(*arguments)
    verb, rest = arguments[0], arguments[1:]
    if verb not in VERBS:
        near = get_close_matches(verb, VERBS, n=2)
        hint = f"did you mean dvt {' or dvt '.join(near)}?" if near else f"there are {', '.join(VERBS)}."
        return complain(f"there is no verb {verb!r}: {hint}")
    module = import_module(f"dvt.cli.{verb}")
    if any(argument in _HELP for argument in rest):
        print(verb_page(verb, module, rest) if hasattr(module, "Options") else module.PAGE)
        return DONE
    if hasattr(module, "run"):
        return int(module.run(rest))
    from dvt.cli.job import run_verb

    return run_verb(verb, rest)


def _complete(flag: str, given: str = "", *rest: str) -> int:
    """Print the completion script of a shell, or the candidates of a command line."""
    from dvt.cli.completion import SHELLS, candidates, script

    if flag == COMPLETE_FLAG:
        print("\n".join(candidates(given, VERBS)))
        return DONE
    if given not in SHELLS or rest:
        return complain(f"{flag} takes {', '.join(SHELLS[:-1])} or {SHELLS[-1]}, for example {flag} bash.")
    print(script(given))
    return DONE


def _interrupted() -> int:
    return complain("interrupted. Run the same command again.", INTERRUPTED)


def _silence() -> None:
    """Redirect what is still to be flushed to the null device: the interpreter would complain about the pipe."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (sys.stdout, sys.stderr):
        if stream:
            os.dup2(nowhere, stream.fileno())
