"""The gradient solver: time per step against a plain loop, and error against steps, cold, warm and closed form.

    python benchmarks/gradient.py --weights FILE --image-size 592 --views 768 --curve 200,1000,5000,20000

Time: steps of `plain_loop.py` (dense gradients, Adam over all tensors) and of the solver in turn, on the same tokens;
the first repetition is dropped; medians. Curve: error on 64 views that no fit has seen, as a share of the variance, of
whole fits of so many steps (each has a schedule of its own), with a random start and from the closed form.
"""

import argparse
import json
import statistics
import time

import torch
from plain_loop import PlainLoop
from sklearn.datasets import load_sample_image

from dvt.backbone.load import load_backbone
from dvt.decomposition.closed_form import solve_closed_form
from dvt.decomposition.config import DecomposeConfig
from dvt.decomposition.neural_field.fit import draw_tokens
from dvt.decomposition.neural_field.hash_grid import HashGrid
from dvt.decomposition.quality import load_quality
from dvt.decomposition.run import extract_tokens, solve
from dvt.decomposition.solution import ViewTokens, held_out_error
from dvt.images import read_image
from dvt.runtime import environment


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backbone", default="vit_tiny_patch16_224")
    parser.add_argument("--weights", default="random")
    parser.add_argument("--image", help="a picture; scikit-learn's photograph of a temple when left out")
    parser.add_argument("--image-size", type=int)
    parser.add_argument("--views", type=int, default=768)
    parser.add_argument("--max-resolution", type=int, default=1024, help="of the hash grid")
    parser.add_argument("--steps", type=int, default=20, help="per repetition, for the time of a step")
    parser.add_argument("--repeats", type=int, default=5, help="0 leaves the times out")
    parser.add_argument("--curve", default="", help="numbers of steps of whole fits")
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


def main() -> None:
    args = parse()
    backbone = load_backbone(args.backbone, weights=args.weights, image_size=args.image_size)
    image = read_image(args.image or load_sample_image("china.jpg"))
    start = time.perf_counter()
    config = with_steps(args, 1, warm=False)
    tokens, held_out = extract_tokens(image, backbone, config, args.seed)
    assert held_out is not None
    print(f"{backbone.full_name}, {backbone.grid}, {args.views} + 1 views in {time.perf_counter() - start:.1f} s")
    results: dict[str, object] = {}
    if args.repeats:
        results["step_s"] = times(args, tokens)
    start = time.perf_counter()
    closed = solve_closed_form(tokens, config.closed_form)
    elapsed = time.perf_counter() - start
    error = held_out_error(closed, held_out)
    results["closed_form"] = {"held_out": error, "seconds": elapsed}
    print(f"closed form: held-out error {error:.4f}, {elapsed:.1f} s", flush=True)
    for num_steps in map(int, filter(None, args.curve.split(","))):
        for warm in (False, True):
            start = time.perf_counter()
            error = held_out_error(solve(tokens, with_steps(args, num_steps, warm), args.seed), held_out)
            elapsed = time.perf_counter() - start
            name = f"{num_steps} steps, {'warm' if warm else 'cold'}"
            results[name] = {"held_out": error, "seconds": elapsed}
            print(f"{name}: held-out error {error:.4f}, {elapsed:.1f} s", flush=True)
    named = {key: str(value) for key, value in vars(args).items() if key not in ("weights", "image")}
    machine = {"threads": torch.get_num_threads(), **environment()}
    print(json.dumps({"benchmark": "gradient", **named, "results": results, "machine": machine}))


def with_steps(args: argparse.Namespace, num_steps: int, warm: bool) -> DecomposeConfig:
    gradient = {"num_steps": num_steps, "warm_start": warm, "hash_grid": {"max_resolution": args.max_resolution}}
    return load_quality("paper", {"num_views": args.views, "held_out_views": 64, "gradient": gradient})


def times(args: argparse.Namespace, tokens: ViewTokens) -> dict[str, float]:
    """Median seconds of a step of the plain loop and of the solver, whose beginning and end are left out."""
    config = with_steps(args, args.steps, warm=False)
    raw, image_xy = tokens.raw.flatten(0, 2), tokens.image_xy.flatten(0, 2)
    plain = PlainLoop(raw, image_xy, tokens.grid.num_patches, config.gradient.hash_grid)
    grid = HashGrid(config.gradient.hash_grid)
    drawn = next(draw_tokens(len(raw), config.gradient, args.seed, raw.device))
    print(f"a step reads {grid.corners(image_xy[drawn])[0].unique().numel()} of the hash grid's {len(grid.table)} rows")
    found: dict[str, list[float]] = {"plain loop": [], "solver": []}
    for repeat in range(args.repeats + 1):
        start = time.perf_counter()
        for _ in range(args.steps):
            plain.step()
        per_step = [(time.perf_counter() - start) / args.steps]
        spans = []
        for num_steps in (args.steps, 11 * args.steps):
            start = time.perf_counter()
            solve(tokens, with_steps(args, num_steps, warm=False), args.seed)
            spans.append(time.perf_counter() - start)
        per_step.append((spans[1] - spans[0]) / (10 * args.steps))
        if repeat:  # the first is warm-up
            for name, value in zip(found, per_step, strict=True):
                found[name].append(value)
    for name, values in found.items():
        print(f"{name}: {1000 * statistics.median(values):.1f} ms a step ({1000 * min(values):.1f} to", end=" ")
        print(f"{1000 * max(values):.1f})", flush=True)
    ratios = [one / other for one, other in zip(*found.values(), strict=True)]
    print(f"ratio: {statistics.median(ratios):.1f} ({min(ratios):.1f} to {max(ratios):.1f})", flush=True)
    return {name: statistics.median(values) for name, values in found.items()} | {"ratio": statistics.median(ratios)}


if __name__ == "__main__":
    main()
