"""`dvt demo`: the whole story, offline, in minutes."""

import time

from dvt.cli.console import Seldom, say
from dvt.cli.job import JobOutcome
from dvt.demo.config import DemoConfig as Options

HEAD = """\
dvt demo: six photographs, a small ViT that comes with dvt, and all that dvt does with them: stage 1, a denoiser trained
on the spot, one that was trained before, SRT, scores, pictures, a page. Needs no network and no GPU.

usage: dvt demo [out=demo] [key=value ...]

  dvt demo                                     a few minutes on two CPU cores; look at demo/index.html
  dvt demo out=longer num_views=128 num_steps=1000

Stopped? The same command again goes on where it stopped."""

GROUPS = ()
METRIC = None


def work(options: Options, choices: dict[str, str]) -> JobOutcome:
    """Tell the story, and say where to look."""
    from dvt.demo.page import NEXT, write_story
    from dvt.demo.story import Telling, tell_story

    start = time.monotonic()
    story = tell_story(options, Telling(step=lambda text: say(f"\n{text}"), progress=_Told()))
    page = write_story(story)
    say(f"\nall of it took {time.monotonic() - start:.0f} s. Look at {page}\n\nOn your own photographs:\n\n{NEXT}\n")
    print(page)
    return JobOutcome()


class _Told:
    """A line every few seconds, and one at the end of each part."""

    def __init__(self) -> None:
        self._line = Seldom(5.0)

    def __call__(self, what: str, done: int, total: int) -> None:
        """Say how far it is, if it is time."""
        if self._line.due() or done == total:
            say(f"  {done}/{total} {what}")
