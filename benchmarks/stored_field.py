"""Disk that a stored F takes, and what each number format of a store costs in accuracy.

    python benchmarks/stored_field.py --data CAMVID --weights FILE --images 20

Images are of train/. For each number of nodes a patch (`--nodes`) and number format of a store, printed per image:

    nodes      bytes of F as nodes, as a store holds it
    map        bytes of the map of F at `--fine` x `--fine` cells a patch, in the same format
    cosine     mean cosine between F at the cells, read from the stored nodes, and F as solved; and the smallest
    map cosine the same where the map at the cells is stored instead
    error      root of the mean squared difference of the first, as a share of the deviation of F
"""

import argparse
import json

from street_scenes import options, scene_parser, scenes, shown
from torch import Tensor
from torch.nn.functional import cosine_similarity

from dvt.backbone.load import load_backbone
from dvt.decomposition.quality import load_quality
from dvt.decomposition.run import decompose_image
from dvt.field import BilinearField
from dvt.grid import PatchGrid
from dvt.runtime import environment, seed_for
from dvt.store.formats import FORMATS, Format


def parse() -> argparse.Namespace:
    parser = scene_parser(__doc__)
    parser.add_argument("--images", type=int, default=20)
    parser.add_argument("--fine", type=int, default=4, help="cells per patch along each side")
    parser.add_argument("--nodes", nargs="+", default=["2", "4 smoothness=0.2"], help="nodes a patch, and options")
    return parser.parse_args()


def main() -> None:
    args = parse()
    backbone = load_backbone(args.backbone, weights=args.weights, image_size=args.image_size)
    cells = backbone.grid.finer(args.fine)
    images = [scene.image for scene in scenes(args.data, "train", args.images)]
    print(f"{len(images)} images, {backbone.grid}, {cells}")
    results = {}
    for setting in args.nodes:
        config = load_quality("fast", options(f"nodes_per_patch={setting}".split()))
        fields = [
            decompose_image(image, backbone, config, seed_for(0, str(number))).field
            for number, image in enumerate(images)
        ]
        for name, form in FORMATS.items():
            row = measure(fields, form, cells)
            results[f"nodes_per_patch={setting} {name}"] = row
            print(
                f"{setting:18}{name:10}nodes {row['nodes'] / 1e3:7.0f} kB   map {row['map'] / 1e3:7.0f} kB   cosine"
                f" {row['cosine']:.6f} (smallest {row['smallest']:.5f})   map cosine {row['map cosine']:.6f}"
                f"   error {row['error']:.5f}"
            )
    report = {"benchmark": "stored_field", **shown(args), "results": results, "machine": environment(backbone.device)}
    print(json.dumps(report))


def measure(fields: list[BilinearField], form: Format, cells: PatchGrid) -> dict[str, float]:
    """Means over the images; `smallest` is over all cells of all images."""
    rows = []
    for field in fields:
        exact = field.read(cells)
        stored = form.encode(field.node_map)
        values = form.decode(stored, tuple(field.node_map.shape)).float().flatten(0, 1)
        read = BilinearField(nodes=field.nodes, values=values, samples_per_patch=field.samples_per_patch).read(cells)
        stored_map = form.encode(exact)
        cosine = cosine_similarity(read, exact, dim=-1)
        rows.append(
            {
                "nodes": stored.nbytes,
                "map": stored_map.nbytes,
                "cosine": float(cosine.mean()),
                "smallest": float(cosine.min()),
                "map cosine": mean_cosine(form.decode(stored_map, tuple(exact.shape)).float(), exact),
                "error": float((read - exact).square().mean().sqrt() / exact.flatten(0, 1).std(dim=0).mean()),
            }
        )
    means = {key: sum(row[key] for row in rows) / len(rows) for key in rows[0]}
    return means | {"smallest": min(row["smallest"] for row in rows)}


def mean_cosine(one: Tensor, other: Tensor) -> float:
    """Mean cosine of the vectors of two maps."""
    return float(cosine_similarity(one, other, dim=-1).mean())


if __name__ == "__main__":
    main()
