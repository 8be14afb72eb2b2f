"""`dvt decompose`: clean features of images, into a store."""

import shlex
from typing import TYPE_CHECKING

from dvt.cli.apps import DecomposeApp as Options
from dvt.cli.apps import StoreMethodName
from dvt.cli.console import DONE, INTERRUPTED, SOME_FAILED, say
from dvt.cli.help import verb_page

if TYPE_CHECKING:
    from dvt.backbone.backbone import Backbone
    from dvt.decomposition.progress import Progress

USAGE = """\
dvt decompose: separate the features of images into clean features and artifact (stage 1), into a store.

usage: dvt decompose images=PATH store=FOLDER [key=value ...]

  dvt decompose images=photos/ store=runs/photos                                  DINOv2-B, a folder
  dvt decompose images=cat.jpg store=runs/cat backbone=dino_small device=cpu      one image, on a laptop
  dvt decompose images='photos/**/*.jpg' store=runs/p quality=paper               the paper's neural field
  dvt decompose images=list.txt store=runs/p shard=0/4                            one of four processes
  dvt decompose images=photos/ store=runs/srt method=srt                          SRT features as the clean ones
  dvt decompose images=a.png store=runs/a backbone.timm=vit_tiny_patch16_224 backbone.weights=vit.safetensors

Stopped or crashed? The same command again continues; what is verified to be done is skipped."""


def help_page() -> str:
    """What `dvt decompose --help` prints."""
    return verb_page(USAGE, Options)


def run(arguments: list[str]) -> int:
    """Run the verb and return its exit code."""
    from dvt.cli.compose import run_verb

    return run_verb("decompose", Options, arguments, decompose)


def decompose(options: Options, choices: dict[str, str]) -> int:
    """Do what the options say; 0, 3 when some images failed, 130 when interrupted."""
    from dvt.backbone.load import load_from_config
    from dvt.cli.progress import ProgressLine
    from dvt.decomposition.run_list import ListOptions, Shard, decompose_list
    from dvt.images import find_images
    from dvt.runtime import pick_device

    list_options = ListOptions(
        quality=choices["quality"],
        seed=options.seed,
        shard=Shard.parse(options.shard),
        arrays=tuple(options.arrays),
        dtype=options.dtype.value,
        max_pixels=options.max_pixels,
    )
    files = find_images(options.images)
    backbone = load_from_config(options.backbone, pick_device(options.device))
    say(describe(backbone, options, len(files)))
    config = options.srt if options.method is StoreMethodName.srt else options
    with ProgressLine() as line:
        progress = decompose_list(files, backbone, options.store, config, list_options, line.update)
    return report(progress, options.store)


def describe(backbone: "Backbone", options: Options, num_files: int) -> str:
    """One line on what is about to happen."""
    srt, views = options.srt, options.views
    how = (
        f"srt, {srt.aggregate.value} over shifts of up to {srt.max_shift} px every {srt.step} px"
        if options.method is StoreMethodName.srt
        else f"{options.solver.value}, {views.num_views} views"
    )
    return (
        f"{_count(num_files)} -> {options.store}   {backbone.timm_name}, {backbone.grid}, {backbone.precision},"
        f" {backbone.device}, {how}"
    )


def report(progress: "Progress", store: str) -> int:
    """Say how it went and what to do next; returns the exit code."""
    for reason in progress.damaged:
        say(f"damaged: {reason}")
    for key, reason in progress.failed.items():
        say(f"failed: {key}: {reason}")
    spent = progress.seconds
    say(
        f"{progress.done} done, {progress.skipped} there already, {len(progress.failed)} failed"
        f" of {_count(progress.total)}; read {spent['read']:.1f} s, extract {spent['extract']:.1f} s,"
        f" solve {spent['solve']:.1f} s"
    )
    if progress.interrupted:
        say("interrupted; what was done is in the store. The same command again continues.")
        return INTERRUPTED
    say(f"next: dvt store status {shlex.quote(store)}")
    return SOME_FAILED if progress.failed else DONE


def _count(images: int) -> str:
    return f"{images} image{'' if images == 1 else 's'}"
