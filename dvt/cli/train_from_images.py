"""`dvt train` without a store: photographs are decomposed on the way."""

import time
from dataclasses import fields
from typing import TYPE_CHECKING

from dvt.backbone.config import BackboneConfig
from dvt.cli.apps import TrainApp as Options
from dvt.cli.console import DONE, INTERRUPTED, SOME_FAILED, say
from dvt.cli.train import end_text

if TYPE_CHECKING:
    from dvt.streaming.train import Stream
    from dvt.training.resume import Start

_LINE_EVERY_S = 10.0


def train_from_images(options: Options) -> int:
    """Do what the options say; 0, 3 when pictures failed, or 130 when it was stopped before its end."""
    from dvt.backbone.load import load_from_config
    from dvt.cli.progress import TrainingLine
    from dvt.images import find_images
    from dvt.runtime import pick_device
    from dvt.streaming.train import train_from_images

    images = find_images(options.images)
    device = pick_device("cpu" if options.trainer.accelerator == "cpu" else "auto")
    backbone = load_from_config(_backbone(options), device)

    def on_start(stream: "Stream", start: "Start") -> None:
        for note in start.notes:
            say(note)
        begun = f", continuing at step {start.step}: its pictures are decomposed again" if start.step else ""
        say(
            f"{stream.num_images} images -> {options.out}   {backbone.timm_name}, {backbone.grid}, {device}, stage 1 on"
            f" the way ({options.stream.quality}), {options.num_steps} steps of {options.batch_size}{begun}"
        )

    with TrainingLine("train", options.batch_size) as line:
        streamed = train_from_images(
            images,
            options.out,
            backbone,
            options,
            options.stream,
            max_pixels=options.max_pixels,
            on_start=on_start,
            on_made=_Made().tell,
            on_progress=line.update,
        )
    for key, reason in streamed.failures.items():
        say(f"failed: {key}: {reason}")
    say(f"{streamed.num_made} pictures decomposed, {len(streamed.failures)} failed")
    say(end_text(streamed.trained, options))
    if streamed.trained.interrupted:
        return INTERRUPTED
    return SOME_FAILED if streamed.failures else DONE


def _backbone(options: Options) -> BackboneConfig:
    """What is given, and defaults for what is not."""
    given = {entry.name: getattr(options.backbone, entry.name) for entry in fields(options.backbone)}
    return BackboneConfig(**{name: value for name, value in given.items() if value is not None})


class _Made:
    """A line now and then while pictures are decomposed."""

    def __init__(self) -> None:
        self._last_s = time.monotonic()

    def tell(self, num_made: int) -> None:
        """Say how many, if it is time."""
        now = time.monotonic()
        if now - self._last_s >= _LINE_EVERY_S:
            self._last_s = now
            say(f"{num_made} pictures decomposed")
