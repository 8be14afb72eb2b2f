"""`dvt decompose`: clean features of images, into a store."""

import shlex
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dvt.backbone.config import BackboneConfig
from dvt.cli.console import DONE, INTERRUPTED, MISSING, SOME_FAILED, say, say_failures
from dvt.cli.outcome import Result
from dvt.cluster.config import EngineConfig, EngineName
from dvt.decomposition.config import DecomposeConfig
from dvt.decomposition.shard import Shard
from dvt.errors import ConfigError
from dvt.images import MAX_PIXELS
from dvt.srt.config import SrtConfig

if TYPE_CHECKING:
    from dvt.decomposition.outcome import Outcome
    from dvt.decomposition.run_list import ListOptions
    from dvt.images import ImageFile

LARGE_STORE_BYTES = 1_000_000_000
"""Checking the checksums of a store of this size takes a while; a message says so."""

HEAD = """\
dvt decompose: separate the features of images into clean features and artifact (stage 1), into a store.

usage: dvt decompose images=PATH store=FOLDER [key=value ...]

  dvt decompose images=photos/ store=runs/photos                                  DINOv2-B, a folder
  dvt decompose images=cat.jpg store=runs/cat backbone=dino_small device=cpu      one image, on a laptop
  dvt decompose images='photos/**/*.jpg' store=runs/p quality=paper               the paper's neural field
  dvt decompose images=list.txt store=runs/p shard=0/4                            one of four processes
  dvt decompose images=photos/ store=runs/p engine=ray engine.address=auto        by workers of a cluster
  dvt decompose images=photos/ store=runs/p engine=slurm engine.workers=16        by 16 jobs of SLURM
  dvt decompose images=photos/ store=runs/p fine=2                                F itself, to be read at any grid
  dvt decompose images=photos/ store=runs/srt method=srt                          SRT features as the clean ones
  dvt decompose images=a.png store=runs/a backbone.timm=vit_tiny_patch16_224 backbone.weights=vit.safetensors

Stopped or crashed? The same command again continues; what is verified to be done is skipped."""

GROUPS = ("backbone", "quality", "engine", "experiment")
METRIC = None


class StoreDtype(str, Enum):
    """Number format of a store."""

    float16 = "float16"
    """16 bits: half the disk, three significant digits."""
    float32 = "float32"
    """32 bits: as computed."""
    int8 = "int8"
    """8 bits between the smallest and the largest value of each channel of a map: half the disk of float16."""


class StoreMethodName(str, Enum):
    """Method that computes the clean features of a store."""

    decomposed = "decomposed"
    """Stage 1: the field F of each image."""
    srt = "srt"
    """SRT: raw features averaged over shifts by less than a patch."""


@dataclass(kw_only=True, slots=True)
class Options(DecomposeConfig):
    """Options of `dvt decompose`."""

    images: Any = MISSING
    """An image, a folder, a glob such as 'photos/**/*.jpg', or a .txt list of paths."""
    store: str = MISSING
    """Folder that the features go to; the same command continues one that was begun."""
    method: StoreMethodName = StoreMethodName.decomposed
    """Method of the clean features: decomposed, or srt (its options are srt.*; it ignores quality and views)."""
    srt: SrtConfig = field(default_factory=SrtConfig)
    """SRT, for method=srt."""
    backbone: BackboneConfig = field(default_factory=BackboneConfig)
    """The ViT."""
    seed: int = 0
    """Seed of the run; every image gets its own from this and its key."""
    shard: str = "0/1"
    """Do part i of n of the list, as i/n, counted from 0: several processes may share a store."""
    arrays: list[str] = field(default_factory=lambda: ["raw", "clean"])
    """Maps to store: some of raw, clean, artifact; F itself with fine above 1."""
    dtype: StoreDtype = StoreDtype.float16
    """Number format of the store: float16, float32 or int8 (half of float16)."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:1 or mps."""
    engine: EngineConfig = field(default_factory=EngineConfig)
    """Where the work runs: this process, workers of Ray, or jobs of SLURM."""
    max_pixels: int = MAX_PIXELS
    """Larger images are refused as decompression bombs."""

    def __post_init__(self) -> None:
        """Refuse invalid values."""
        DecomposeConfig.__post_init__(self)
        Shard.parse(self.shard)


def work(options: Options, choices: dict[str, str]) -> Result:
    """Run stage 1; exit code 0, 3 when some images failed, 130 when interrupted."""
    from dvt.decomposition.run_list import ListOptions
    from dvt.images import find_images

    if options.method is StoreMethodName.srt and options.fine != 1:
        raise ConfigError(f"fine={options.fine} method=srt: SRT has no field F to store. Leave fine out.")
    list_options = ListOptions(
        quality=choices["quality"],
        seed=options.seed,
        shard=Shard.parse(options.shard),
        arrays=tuple(options.arrays),
        dtype=options.dtype.value,
        max_pixels=options.max_pixels,
    )
    return Result(code=print_outcome(_run(find_images(options.images), options, list_options), options))


def _run(files: "list[ImageFile]", options: Options, list_options: "ListOptions") -> "Outcome":
    """In this process, on Ray workers, or as SLURM jobs."""
    from dvt.cli.reporter import TerminalReporter
    from dvt.store import shard_bytes

    config = options.srt if options.method is StoreMethodName.srt else options
    run: Callable[[TerminalReporter], Outcome]
    if options.engine.name is EngineName.local:
        from dvt.backbone.load import load_from_config
        from dvt.decomposition.run_list import decompose_list
        from dvt.runtime import pick_device

        backbone = load_from_config(options.backbone, pick_device(options.device))
        vit = f"{backbone.full_name}, {backbone.grid}, {backbone.precision}, {backbone.device}"
        run = partial(decompose_list, files, backbone, options.store, config, list_options)
    else:
        from dvt.cluster.ray import decompose_on_ray
        from dvt.cluster.slurm import decompose_on_slurm
        from dvt.cluster.worker import Job

        wanted, engine = options.backbone, options.engine
        vit = f"{wanted.full_name}, {wanted.precision}, engine={engine.name.value}"
        job = Job(backbone=wanted, device=options.device, store=options.store, config=config, options=list_options)
        run = partial(decompose_on_ray if engine.name is EngineName.ray else decompose_on_slurm, files, job, engine)
    say(describe(vit, options, len(files)))
    num_bytes = shard_bytes(Path(options.store))
    if num_bytes >= LARGE_STORE_BYTES:
        say(f"checking what is there already: {num_bytes / 1e9:.1f} GB")
    with TerminalReporter() as reporter:
        return run(reporter)


def describe(vit: str, options: Options, num_files: int) -> str:
    """One line about the run: images, store, ViT and method."""
    srt, views = options.srt, options.views
    how = (
        f"srt, {srt.aggregate.value} over shifts of up to {srt.max_shift} px every {srt.step} px"
        if options.method is StoreMethodName.srt
        else f"{options.solver.value}, {views.num_views} views"
    )
    return f"{_count(num_files)} -> {options.store}   {vit}, {how}"


def print_outcome(outcome: "Outcome", options: Options) -> int:
    """Print the result and the next command; returns the exit code."""
    for reason in outcome.damaged:
        say(f"damaged: {reason}")
    say_failures(outcome.failed)
    for reason in outcome.crash.splitlines():
        say(f"crashed: {reason}")
    spent = outcome.seconds
    say(
        f"{outcome.done} done, {outcome.skipped} there already, {len(outcome.failed)} failed"
        f" of {_count(outcome.total)}; read {spent['read']:.1f} s, extract {spent['extract']:.1f} s,"
        f" solve {spent['solve']:.1f} s"
    )
    if outcome.interrupted:
        if options.engine.name is not EngineName.slurm:  # its jobs continue, and its own message was printed
            say("interrupted; finished images are in the store. The same command again continues.")
        return INTERRUPTED
    if outcome.crash:
        say("finished images are in the store. The same command again does the others.")
    say(f"next: dvt store status {shlex.quote(options.store)}")
    return SOME_FAILED if outcome.failed or outcome.crash else DONE


def _count(images: int) -> str:
    return f"{images} image{'' if images == 1 else 's'}"
