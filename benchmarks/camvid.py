"""What stage 1 does to the features of street scenes: settings side by side, on the same views of the same images.

    python benchmarks/camvid.py --data CAMVID --weights FILE --setting "" --setting "artifact_ridge=0.5" ...

Pictures and probe: street_scenes.py. Every setting is a list of options of `quality=fast`, "smoothness=0.1
reweightings=0"; views are shared, so it must not change those. Printed per setting, for F alone, F + G, and F + the
mean G of all images:

    mIoU       of the linear probe; mean and deviation over probe seeds
    position   share of the variance of the test features that their position alone explains
    held out   error on 16 views that were not fitted, as a share of their variance
    agreement  cosine of an image's G with the mean G of all images
"""

import argparse
import json
import time

import numpy as np
import torch
from street_scenes import agreement, linear_mious, options, patch_labels, position_share, scene_parser, scenes, shown
from torch import Tensor

from dvt.backbone.load import load_backbone
from dvt.decomposition.quality import load_quality
from dvt.decomposition.run import clean_map, extract_tokens, solve
from dvt.decomposition.solution import held_out_error
from dvt.runtime import environment, seed_for


def parse() -> argparse.Namespace:
    parser = scene_parser(__doc__)
    parser.add_argument("--before-norm", action="store_true", help="features before the final norm")
    parser.add_argument("--test", type=int, default=40)
    parser.add_argument("--views", type=int, default=128)
    parser.add_argument("--setting", action="append", help="options of quality=fast, blank-separated key=value")
    return parser.parse_args()


def main() -> None:
    args = parse()
    backbone = load_backbone(args.backbone, weights=args.weights, image_size=args.image_size, norm=not args.before_norm)
    shared = {"num_views": args.views, "held_out_views": 16}
    settings = {text: load_quality("fast", shared | options(text.split())) for text in args.setting or [""]}
    views = next(iter(settings.values())).views
    if any(config.views != views for config in settings.values()):
        raise SystemExit("the settings differ in their views, which they share: run them one by one.")
    maps: dict[str, dict[str, list[Tensor]]] = {split: {} for split in ("train", "test")}
    held_out: dict[str, list[float]] = {text: [] for text in settings}
    solve_s: dict[str, list[float]] = {text: [] for text in settings}
    for split, rows in maps.items():
        pictures = scenes(args.data, split, getattr(args, split))
        for sample, files in zip(pictures, pictures.files, strict=True):
            seed = seed_for(0, files.image.name)
            tokens, kept = extract_tokens(sample.image, backbone, next(iter(settings.values())), seed)
            assert kept is not None
            rows.setdefault("labels", []).append(patch_labels(sample.target, backbone.grid))
            rows.setdefault("raw", []).append(tokens.raw[-1].clone())
            for text, config in settings.items():
                start = time.perf_counter()
                solution = solve(tokens, config, 0)
                solve_s[text].append(time.perf_counter() - start)
                held_out[text].append(held_out_error(solution, kept))
                with torch.no_grad():
                    rows.setdefault(f"F {text}", []).append(clean_map(solution, tokens))
                rows.setdefault(f"G {text}", []).append(solution.artifact)
    report(args, maps, held_out, solve_s)


def report(
    args: argparse.Namespace,
    maps: dict[str, dict[str, list[Tensor]]],
    held_out: dict[str, list[float]],
    solve_s: dict[str, list[float]],
) -> None:
    train, test = ({name: torch.stack(values) for name, values in rows.items()} for rows in maps.values())
    results: dict[str, object] = {}

    def score(name: str, train_maps: Tensor, test_maps: Tensor) -> str:
        mious = linear_mious(train_maps, train["labels"], test_maps, test["labels"], args.probe_seeds)
        share = position_share(test_maps)
        results[name] = {"miou": float(np.mean(mious)), "std": float(np.std(mious)), "position": share}
        return f"{np.mean(mious):6.2f} +- {np.std(mious):.2f}  {share:.3f}"

    print(f"{'':34}{'mIoU':>6}          position   held out  agreement  solve s")
    print(f"{'raw':34}{score('raw', train['raw'], test['raw'])}")
    for text, errors in held_out.items():
        (f_train, g_train), (f_test, g_test) = ((rows[f"F {text}"], rows[f"G {text}"]) for rows in (train, test))
        artifacts = torch.cat((g_train, g_test))
        mean, alike = artifacts.mean(dim=0), agreement(artifacts)
        error, seconds = float(np.mean(errors)), float(np.median(solve_s[text]))
        results[f"setting {text}"] = {"held_out": error, "agreement": alike, "solve_s": seconds}
        print(f"{text or 'defaults'}")
        print(f"{'  F':34}{score(f'F {text}', f_train, f_test)}     {error:.4f}     {alike:.3f}      {seconds:.2f}")
        print(f"{'  F + G':34}{score(f'F+G {text}', f_train + g_train, f_test + g_test)}")
        print(f"{'  F + mean G':34}{score(f'F+mean G {text}', f_train + mean, f_test + mean)}", flush=True)
    print(json.dumps({"benchmark": "camvid", **shown(args), "results": results, "machine": environment()}))


if __name__ == "__main__":
    main()
