"""Training data of the depth head: `quick` keeps tokens in memory, `paper` makes them of random crops in every step."""

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import chain

import torch
from torch import Tensor
from torch.nn import functional
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2.functional import rotate

from dvt.errors import EvaluationError
from dvt.evaluation.config.depth import LinearDepthConfig, OptimizerConfig, PaperConfig
from dvt.evaluation.datasets.samples import Sample
from dvt.evaluation.layouts import LaidOut
from dvt.evaluation.patches import features_and_targets, finite_features, fitting_hw
from dvt.evaluation.probes.depth_head import Batch, DepthHead, fit_head, is_known, with_class_token
from dvt.grid import PatchGrid, image_hw
from dvt.methods.method import Method
from dvt.progress import Reporter
from dvt.runtime import seed_for
from dvt.shapes import FeatureMaps, ImageTensor


def quick_heads(
    method: Method, samples: LaidOut, size: tuple[int, int], config: LinearDepthConfig, reporter: Reporter
) -> tuple[list[DepthHead], list[str]]:
    """One trained head per seed, and the keys of training images without any known depth.

    Depth is taken at the pixels nearest to the head's upsampled grid: never a mean over an edge. Memory: 4 N H W C
    bytes of tokens, with C doubled by the class token.

    Args:
        method: makes the features.
        samples: training images.
        size: image size (height, width).
        config: the task.
        reporter: shows the progress.

    Raises:
        EvaluationError: no depth is known in any of them.
        GeometryError: the size does not fit the patch.
    """
    grid, device, num_layers = method.grid_for(size), torch.device("cpu"), len(method.spec.layers)
    fine = (grid.hw[0] * config.head.upsampling, grid.hw[1] * config.head.upsampling)
    parts: list[Tensor] = []
    depths: list[Tensor] = []
    for features, targets in features_and_targets(method, samples, size, reporter):
        device = features.patches.device
        parts.append(with_class_token(features, num_layers).cpu())
        depths += [functional.interpolate(each[None, None], fine, mode="nearest-exact")[0, 0] for each in targets]
    tokens, depth = torch.cat(parts), torch.stack(depths)
    known = is_known(depth, config.head).flatten(1).any(dim=1)
    if not known.any():
        raise EvaluationError(
            f"none of the {len(samples)} training images has a depth between {config.head.min_depth} and"
            f" {config.head.max_depth} m. Are the depth files in millimetres?"
        )
    unusable = [samples[number].key for number in (~known).nonzero().flatten().tolist()]
    tokens, depth = tokens[known], depth[known]
    reporter.start(config.seeds * config.quick.num_steps, "steps", f"{method.name} heads")
    heads = []
    for seed in range(config.seeds):
        rng = torch.Generator().manual_seed(seed_for(seed, "linear depth"))
        head = DepthHead(tokens.shape[-1], config.head, rng, num_layers)
        # With so few steps the result depends on the scale of the features: divide all by one number.
        head.measure_in(tokens.square().mean().sqrt())
        head.to(device)
        batches = _batches(tokens, depth, grid, config.quick, rng, device)
        fit_head(head, batches, config, config.quick, reporter)
        heads.append(head)
    return heads, unusable


def _batches(
    tokens: FeatureMaps,
    depth: Tensor,
    grid: PatchGrid,
    optimizer: OptimizerConfig,
    rng: torch.Generator,
    device: torch.device,
) -> Iterator[Batch]:
    """One batch per step; every image is used once before one repeats."""
    size = min(optimizer.batch_size, len(tokens))
    waiting: list[int] = []
    for _ in range(optimizer.num_steps):
        if len(waiting) < size:
            waiting += torch.randperm(len(tokens), generator=rng).tolist()
        chosen, waiting = waiting[:size], waiting[size:]
        yield Batch(tokens[chosen].to(device), grid, depth[chosen].to(device))


def paper_heads(method: Method, samples: LaidOut, config: LinearDepthConfig, reporter: Reporter) -> list[DepthHead]:
    """One trained head per seed. Every step runs the method on a batch of new crops; nothing is kept.

    Args:
        method: makes the features.
        samples: training images; a layout of crops is drawn anew in every pass over the images.
        config: the task.
        reporter: shows the progress.
    """
    optimizer = config.paper.optimizer
    reporter.start(config.seeds * optimizer.num_steps, "steps", f"{method.name} heads")
    heads = []
    for seed in range(config.seeds):
        with ThreadPoolExecutor(config.paper.num_workers) as pool:
            batches = _crops(method, samples, seed, config.paper, pool)
            first = next(batches)
            rng = torch.Generator().manual_seed(seed_for(seed, "linear depth"))
            head = DepthHead(first.tokens.shape[-1], config.head, rng, len(method.spec.layers)).to(first.tokens.device)
            fit_head(head, chain([first], batches), config, optimizer, reporter)
        heads.append(head)
    return heads


def _crops(
    method: Method, samples: LaidOut, seed: int, config: PaperConfig, pool: ThreadPoolExecutor
) -> Iterator[Batch]:
    """Batches of every step; the images of the next step are read meanwhile. Step n depends only on the seed and n."""
    hw = image_hw(config.train_size)
    size = fitting_hw(method, hw, larger=True)
    num_steps, batch_size = config.optimizer.num_steps, config.optimizer.batch_size

    def load(turn: int, number: int) -> tuple[ImageTensor, Tensor]:
        turn_seed = seed_for(seed, f"pass {turn}")
        sample = samples.with_seed(turn_seed)[number]
        rng = torch.Generator().manual_seed(seed_for(turn_seed, sample.key))
        image, depth = augment(sample, hw, config, rng)
        if tuple(depth.shape) != hw:  # of an image smaller than the crop
            depth = functional.interpolate(depth[None, None], hw, mode="nearest-exact")[0, 0]
        return image, depth

    def numbers() -> Iterator[tuple[int, int]]:
        """Pass over the data and number of the image, without end."""
        rng = torch.Generator().manual_seed(seed_for(seed, "order"))
        turn = 0
        while True:
            for number in torch.randperm(len(samples), generator=rng).tolist():
                yield turn, number
            turn += 1

    order = numbers()

    def begin() -> list[Future[tuple[ImageTensor, Tensor]]]:
        return [pool.submit(load, *next(order)) for _ in range(batch_size)]

    loading = begin()
    for step in range(num_steps):
        loaded = [each.result() for each in loading]
        if step + 1 < num_steps:
            loading = begin()
        features = finite_features(method, [image for image, _ in loaded], size)
        depth = torch.stack([depth for _, depth in loaded]).to(features.patches.device)
        yield Batch(with_class_token(features, len(method.spec.layers)), features.grid, depth)


def augment(
    sample: Sample, crop_hw: tuple[int, int], config: PaperConfig, rng: torch.Generator
) -> tuple[ImageTensor, Tensor]:
    """Rotate, mirror, crop and recolour a training image, in this order, each at random.

    Args:
        sample: an image and its depth.
        crop_hw: height and width of the crop; a side longer than the image is cut to it.
        config: how often and how far.
        rng: of all draws.

    Returns:
        The image, (3, y, x) in [0, 1], and its depth in metres, (y, x), 0 where it is unknown.
    """
    image, depth = sample.image, sample.target
    turned, angle, mirrored, top, left, coloured = torch.rand(6, generator=rng).tolist()
    if turned < config.rotation_share:
        degrees = (2 * angle - 1) * config.rotation_degrees
        image = rotate(image, degrees, InterpolationMode.BILINEAR)
        depth = rotate(depth[None], degrees, InterpolationMode.NEAREST)[0]
    if mirrored < config.flip_share:
        image, depth = image.flip(-1), depth.flip(-1)
    height, width = depth.shape
    rows, columns = min(crop_hw[0], height), min(crop_hw[1], width)
    y, x = round(top * (height - rows)), round(left * (width - columns))
    image, depth = image[:, y : y + rows, x : x + columns], depth[y : y + rows, x : x + columns]
    if coloured < config.colour_share:
        gamma, brightness, *channels = (2 * torch.rand(5, generator=rng) - 1).tolist()
        factors = (1 + config.channel_range * torch.tensor(channels)) * (1 + config.brightness_range * brightness)
        image = (image.clamp(0, 1).pow(1 + config.gamma_range * gamma) * factors[:, None, None]).clamp(0, 1)
    return image.contiguous(), depth.contiguous()
