"""Time of a pass of a ViT that drops patches, beside the same ViT that keeps all.

    python benchmarks/pruning.py [--keep 0.7 0.5] [--seconds 30] [--threads 1]

The weights are random: they change no time. The ViTs take turns, one image each, for so many seconds a case. Printed:
median and shortest time in ms, and the median of the ratios to the ViT that keeps all, within one round. One JSON
line is last.
"""

import argparse
import json
from functools import partial
from statistics import median

import torch
from stopwatch import seconds

import dvt
from dvt.backbone.backbone import Backbone
from dvt.backbone.pruning import Pruning
from dvt.runtime import environment

CASES = (("vit_tiny_patch16_224", 224), ("vit_tiny_patch16_224", 448), ("vit_small_patch14_dinov2", 518))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--keep", type=float, nargs="+", default=[0.7, 0.5])
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    results = {}
    for name, side in CASES:
        models = {keep: _model(name, side, keep) for keep in (1.0, *args.keep)}
        image = torch.rand(1, 3, side, side)
        for model in models.values():
            model(image)
        rounds: list[dict[float, float]] = []
        while sum(sum(each.values()) for each in rounds) < args.seconds:
            rounds.append({keep: seconds(partial(model, image)) for keep, model in models.items()})
        for keep in models:
            time_ms = 1000 * median(each[keep] for each in rounds)
            share = median(each[keep] / each[1.0] for each in rounds)
            best_ms = 1000 * min(each[keep] for each in rounds)
            results[f"{name} {side} px keep {keep:g}"] = {
                "ms": round(time_ms, 1), "best_ms": round(best_ms, 1), "of_all": round(share, 3), "rounds": len(rounds)
            }  # fmt: skip
            times = f"{time_ms:8.1f} ms, best {best_ms:8.1f}"
            print(f"{name:26} {side} px   keep {keep:<4g} {times}   {share:.2f} of keep=1", flush=True)
    print(json.dumps({"benchmark": "pruning", **vars(args), "results": results, "machine": environment()}))


def _model(name: str, side: int, keep: float) -> Backbone:
    model = dvt.load_backbone(name, weights="random", image_size=side, device="cpu")
    if keep < 1:
        model.reader.drop_patches(Pruning.of_depth(model.num_channels, model.layer + 1, keep))
        model.eval().requires_grad_(False)
    return model


if __name__ == "__main__":
    main()
