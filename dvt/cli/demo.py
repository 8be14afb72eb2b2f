"""`dvt demo`: stages 1 and 2 on six images, offline, in minutes."""

import time

from dvt.cli.console import say
from dvt.cli.outcome import Result
from dvt.demo.config import DemoConfig as Options

HEAD = """\
dvt demo: stages 1 and 2 on six images, with a small ViT that ships with dvt: decomposition, a denoiser trained on the
result, the denoiser that ships with dvt, SRT, scores, images, a page. Needs no network and no GPU.

usage: dvt demo [out=demo] [key=value ...]

  dvt demo                                     a few minutes on two CPU cores; open demo/index.html
  dvt demo out=longer num_views=128 num_steps=1000

The same command resumes an interrupted demo."""

GROUPS = ()
METRIC = None


def work(options: Options, choices: dict[str, str]) -> Result:
    """Run the demo and print the path of its page."""
    from dvt.cli.reporter import TerminalReporter
    from dvt.demo.page import NEXT, write_demo_page
    from dvt.demo.run import run_demo

    start = time.monotonic()
    with TerminalReporter() as reporter:
        page = write_demo_page(run_demo(options, reporter))
    say(f"\ntook {time.monotonic() - start:.0f} s in total. Open {page}\n\nOn your own images:\n\n{NEXT}\n")
    print(page)
    return Result()
