"""The cost of stage 2: how much of a training step is reading, and what the denoiser adds to a forward pass.

    python benchmarks/stage2.py reading --store STORE [--batch 64] [--steps 30]
    python benchmarks/stage2.py overhead [--backbone vit_base_patch14_dinov2] [--image-size 518] [--repeats 5]

`reading` takes real batches of a store and a real optimiser step on them, and prints the medians of both times, with
the pages of the store in the cache or not as the machine has them. `overhead` times forward passes of one image through
an untrained ViT with and without its denoiser, in turns; time does not depend on the weights.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable

import torch

import dvt
from dvt.backbone.load import load_backbone
from dvt.denoiser.config import DenoiserConfig
from dvt.denoiser.denoised import DenoisedBackbone
from dvt.denoiser.network import Denoiser
from dvt.denoiser.pairs import StoredPairs
from dvt.losses import feature_distance
from dvt.runtime import environment
from dvt.training.data import StepBatches
from dvt.training.pairs import CleanMaps
from dvt.training.sources import Pair


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    what = parser.add_subparsers(dest="what", required=True)
    reading = what.add_parser("reading")
    reading.add_argument("--store", required=True)
    reading.add_argument("--batch", type=int, default=64)
    reading.add_argument("--steps", type=int, default=30)
    overhead = what.add_parser("overhead")
    overhead.add_argument("--backbone", default="vit_base_patch14_dinov2")
    overhead.add_argument("--image-size", type=int, default=518)
    overhead.add_argument("--repeats", type=int, default=5)
    return parser.parse_args()


def main() -> None:
    args = parse()
    numbers = reading(args) if args.what == "reading" else overhead(args)
    shown = {key: value for key, value in vars(args).items() if key != "store"}
    threads = torch.get_num_threads()
    print(json.dumps({"benchmark": "stage2", **shown, **numbers, "threads": threads, "machine": environment()}))


def reading(args: argparse.Namespace) -> dict[str, float]:
    """Seconds of reading and of computing per step, medians."""
    store = dvt.FeatureStore.open(args.store)
    listed = [Pair(store, key) for key in store]
    pairs = StoredPairs(listed, CleanMaps(listed, store.meta.spec.grid, keep=False))
    batches = StepBatches(len(pairs), args.batch, args.steps, seed=0)
    batches_read = iter(torch.utils.data.DataLoader(pairs, batch_sampler=batches))
    denoiser = Denoiser(DenoiserConfig(), store.meta.spec.channels, store.meta.spec.grid.hw)
    optimizer = torch.optim.AdamW(denoiser.parameters(), lr=1e-4)
    times: dict[str, list[float]] = {"read_s": [], "compute_s": []}
    for _ in range(args.steps):
        begun = time.perf_counter()
        batch = next(batches_read)
        raw, clean = batch["raw"].float(), batch["clean"].float()
        read = time.perf_counter()
        loss = feature_distance(denoiser(raw), clean)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        times["read_s"].append(read - begun)
        times["compute_s"].append(time.perf_counter() - read)
    medians = {name: statistics.median(values) for name, values in times.items()}
    share = medians["read_s"] / sum(medians.values())
    print(
        f"reading {medians['read_s']:.4f} s, computing {medians['compute_s']:.4f} s: {share:.1%} of a step is reading"
    )
    return medians | {"read_share": share}


def overhead(args: argparse.Namespace) -> dict[str, float]:
    """Seconds of a forward pass without and with the denoiser, medians, taken in turns."""
    backbone = load_backbone(args.backbone, weights="random", image_size=args.image_size)
    denoised = DenoisedBackbone(backbone, Denoiser(DenoiserConfig(), backbone.num_channels, backbone.grid.hw))
    image = torch.rand(1, 3, args.image_size, args.image_size)
    times: dict[str, list[float]] = {"raw_s": [], "denoised_s": []}
    for repeat in range(args.repeats + 1):
        for name, model in (("raw_s", backbone), ("denoised_s", denoised)):
            seconds = timed(lambda model=model: model(image))  # type: ignore[misc]
            if repeat:  # the first warms up
                times[name].append(seconds)
    medians = {name: statistics.median(values) for name, values in times.items()}
    extra = medians["denoised_s"] / medians["raw_s"] - 1
    print(f"raw {medians['raw_s']:.3f} s, denoised {medians['denoised_s']:.3f} s: {extra:+.1%}")
    return medians | {"overhead": extra}


def timed(work: Callable[[], object]) -> float:
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


if __name__ == "__main__":
    main()
