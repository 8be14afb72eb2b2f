"""How long stage 1 takes, against the floor: the bare forward passes of the ViT over the views.

    python benchmarks/stage1.py --backbone vit_tiny_patch16_224 --weights FILE --image-size 224
    python benchmarks/stage1.py --backbone dinov2_base --weights random --views 768 --device cuda --precision bf16

Per repetition, in turn: floor (rendered views already in memory, even batches of the best size), extract (crops
rendered and passed through the ViT), each solver, and the whole of `decompose`; with `--compile` also the floor of the
ViT through torch.compile. The first repetition is dropped; medians, extremes and ratios to the floor are printed, and
one line of JSON last. The gradient solver is timed over `--gradient-steps` and projected to `--full-steps`, which its
column says.
"""

import argparse
import json
import platform
import resource
import statistics
from collections.abc import Callable
from math import ceil
from pathlib import Path

import torch
from sklearn.datasets import load_sample_image
from stopwatch import seconds

from dvt.backbone.backbone import Backbone
from dvt.backbone.load import load_backbone
from dvt.decomposition.quality import load_quality
from dvt.decomposition.run import decompose_image, extract_tokens, solve
from dvt.images import read_image
from dvt.runtime import environment
from dvt.views.crop import random_crops
from dvt.views.render import make_source, render_views

BATCH_SIZES = (8, 16, 32, 64, 128)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backbone", default="vit_tiny_patch16_224", help="catalogue or timm name")
    parser.add_argument("--weights", default="random", help="file, or random")
    parser.add_argument("--image", help="a picture; scikit-learn's photograph of a temple when left out")
    parser.add_argument("--image-size", type=int)
    parser.add_argument("--views", type=int, default=128)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--precision", default="fp32")
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--gradient-steps", type=int, default=200, help="0 leaves the gradient solver out")
    parser.add_argument("--full-steps", type=int, default=20_000)
    parser.add_argument("--threads", type=int, help="CPU threads")
    parser.add_argument("--compile", action="store_true", help="also the floor of the ViT through torch.compile")
    return parser.parse_args()


def main() -> None:
    args = parse()
    if args.threads:
        torch.set_num_threads(args.threads)
    backbone = load_backbone(
        args.backbone, weights=args.weights, image_size=args.image_size, device=args.device, precision=args.precision
    )
    image = read_image(args.image or load_sample_image("china.jpg"))
    config = load_quality("fast", {"num_views": args.views})
    gradient = load_quality("paper", {"num_views": args.views, "num_steps": max(args.gradient_steps, 1)})
    views = rendered(backbone, image, config)
    config.batch_size = gradient.batch_size = best_batch_size(backbone, views)
    tokens, _ = extract_tokens(image, backbone, config, 0)

    parts: dict[str, Callable[[], object]] = {
        "floor": lambda: forward(backbone, views, config.batch_size),
        "extract": lambda: extract_tokens(image, backbone, config, 0),
        "solve closed_form": lambda: solve(tokens, config, 0),
        "total closed_form": lambda: decompose_image(image, backbone, config, 0),
    }
    if args.compile:
        compiled = torch.compile(backbone)
        parts["floor, compiled"] = lambda: forward(compiled, views, config.batch_size)
    if args.gradient_steps:
        parts[f"solve gradient ({args.gradient_steps} steps)"] = lambda: solve(tokens, gradient, 0)
    times: dict[str, list[float]] = {name: [] for name in parts}
    for repeat in range(args.repeats + 1):
        for name, work in parts.items():
            elapsed = seconds(work, backbone.device)
            if repeat:  # the first is warm-up
                times[name].append(elapsed)
    report(args, backbone, config.batch_size, times)


def rendered(backbone: Backbone, image: torch.Tensor, config: object) -> torch.Tensor:
    """All random views of the picture, on the backbone's device."""
    hw = backbone.grid.image_hw
    source = make_source(image.to(backbone.device), hw, config.views)  # type: ignore[attr-defined]
    crops = random_crops(tuple(source.shape[-2:]), hw, config.views.num_views + 1, 0, config.views)  # type: ignore
    return render_views(source, crops, hw)


def forward(backbone: Callable[[torch.Tensor], object], views: torch.Tensor, batch_size: int) -> None:
    for batch in views.chunk(ceil(len(views) / batch_size)):
        backbone(batch)


def best_batch_size(backbone: Backbone, views: torch.Tensor) -> int:
    """The batch size at which the bare forward passes are fastest."""
    sizes = [size for size in BATCH_SIZES if size <= len(views)] or [len(views)]
    forward(backbone, views, sizes[0])
    return min(sizes, key=lambda size: seconds(lambda: forward(backbone, views, size), backbone.device))


def report(args: argparse.Namespace, backbone: Backbone, batch_size: int, times: dict[str, list[float]]) -> None:
    floor = statistics.median(times["floor"])
    print(f"{backbone.full_name}, {backbone.grid}, {args.views} + 1 views, {backbone.precision}, batch {batch_size}")
    print(f"{'':34}{'median s':>10}{'min':>9}{'max':>9}{'of floor':>10}")
    result: dict[str, object] = {}
    for name, values in times.items():
        median = statistics.median(values)
        ratio = statistics.median(value / base for value, base in zip(values, times["floor"], strict=True))
        print(f"{name:34}{median:10.3f}{min(values):9.3f}{max(values):9.3f}{ratio:10.3f}")
        result[name] = {"median_s": median, "min_s": min(values), "max_s": max(values), "of_floor": ratio}
    if args.gradient_steps:
        step = statistics.median(next(v for k, v in times.items() if "gradient" in k)) / args.gradient_steps
        projected = step * args.full_steps
        print(
            f"{f'gradient, projected to {args.full_steps} steps':34}{projected:10.1f}{'':18}{projected / floor:10.1f}"
        )
        result["gradient_step_s"], result["gradient_projected_s"] = step, projected
    if backbone.device.type == "cuda":
        peak = torch.cuda.max_memory_allocated(backbone.device)
    else:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(f"peak memory {peak / 2**30:.2f} GiB ({'device' if backbone.device.type == 'cuda' else 'process'})")
    machine = {"threads": torch.get_num_threads(), "cpu": cpu_name(), **environment(backbone.device)}
    options = {"backbone": backbone.full_name, "views": args.views, "batch_size": batch_size, "repeats": args.repeats}
    print(json.dumps({"benchmark": "stage1", **options, "times": result, "peak_bytes": peak, "machine": machine}))


def cpu_name() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    return next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.processor())


if __name__ == "__main__":
    main()
