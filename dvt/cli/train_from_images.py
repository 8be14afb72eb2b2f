"""`dvt train` without a store: photographs are decomposed on the way."""

from dataclasses import fields
from typing import TYPE_CHECKING

from dvt.backbone.config import BackboneConfig
from dvt.cli.apps import TrainApp as Options
from dvt.cli.console import DONE, INTERRUPTED, SOME_FAILED, Seldom, say, say_start
from dvt.cli.train import end_text

if TYPE_CHECKING:
    from dvt.denoiser.online.train import Stream
    from dvt.training.resume import Start


def train_from_images(options: Options) -> int:
    """Do what the options say; 0, 3 when pictures failed, or 130 when it was stopped before its end."""
    from dvt.backbone.load import load_from_config
    from dvt.cli.progress import TrainingLine
    from dvt.denoiser.online.train import train_from_images
    from dvt.images import find_images
    from dvt.runtime import pick_device

    images = find_images(options.images)
    device = pick_device("cpu" if options.trainer.accelerator == "cpu" else "auto")
    backbone = load_from_config(_backbone(options), device)

    seldom = Seldom()

    def on_start(stream: "Stream", start: "Start") -> None:
        say_start(
            start,
            f"{stream.num_images} images -> {options.out}   {backbone.timm_name}, {backbone.grid}, {device}, stage 1 on"
            f" the way ({options.stream.quality}), {options.num_steps} steps of {options.batch_size}",
        )

    def on_made(num_made: int) -> None:
        if seldom.due():
            say(f"{num_made} pictures decomposed")

    with TrainingLine("train", options.batch_size) as line:
        streamed = train_from_images(
            images,
            options.out,
            backbone,
            options,
            options.stream,
            max_pixels=options.max_pixels,
            on_start=on_start,
            on_made=on_made,
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
