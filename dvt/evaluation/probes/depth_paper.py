"""The paper's protocol: large random crops, features on the fly."""

from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import chain

import torch
from torch import Tensor
from torch.nn import functional

from dvt.backbone.load import image_hw
from dvt.evaluation.config.depth import LinearDepthConfig
from dvt.evaluation.config.layout import Layout
from dvt.evaluation.datasets.samples import LaidOut, Sample
from dvt.evaluation.patches import finite_features, fitting_hw
from dvt.evaluation.probes.depth_augment import augment
from dvt.evaluation.probes.depth_fit import Batch, fit_head
from dvt.evaluation.probes.depth_head import DepthHead, with_class_token
from dvt.methods.method import Method
from dvt.progress import Reporter
from dvt.runtime import seed_for
from dvt.shapes import ImageTensor

_Loaded = tuple[ImageTensor, Tensor]
"""A crop and its depth."""


def paper_heads(
    method: Method, samples: Sequence[Sample], layout: Layout, config: LinearDepthConfig, reporter: Reporter
) -> list[DepthHead]:
    """One trained head for every seed. Every step runs the method on a batch of new crops; nothing is kept.

    Args:
        method: makes the features.
        samples: training pictures as they are.
        layout: how to show them; random crops are drawn anew in every pass over the pictures.
        config: the task.
        reporter: shows the progress.
    """
    optimizer = config.paper.optimizer
    reporter.start(config.seeds * optimizer.num_steps, "steps", f"{method.name} heads")
    heads = []
    for seed in range(config.seeds):
        with ThreadPoolExecutor(config.paper.workers) as pool:
            batches = _Crops(samples, layout, seed, config, pool).batches(method)
            first = next(batches)
            rng = torch.Generator().manual_seed(seed_for(seed, "linear depth"))
            head = DepthHead(first.tokens.shape[-1], config.head, rng).to(first.tokens.device)
            fit_head(
                head,
                chain([first], batches),
                range_m=config.head,
                loss=config.loss,
                optimizer=optimizer,
                reporter=reporter,
            )
        heads.append(head)
    return heads


class _Crops:
    """Training pictures, changed at random; what step n sees depends on the seed and n alone."""

    def __init__(
        self,
        samples: Sequence[Sample],
        layout: Layout,
        seed: int,
        config: LinearDepthConfig,
        pool: ThreadPoolExecutor,
    ):
        self._samples, self._layout, self._seed, self._config, self._pool = samples, layout, seed, config.paper, pool
        self._hw = image_hw(config.paper.train_size)

    def batches(self, method: Method) -> Iterator[Batch]:
        """Tokens and depths of every step; the next step's pictures are read meanwhile."""
        looked_at = fitting_hw(method, self._hw, larger=True)
        numbers = self._numbers()
        loading = self._begin(numbers)
        for step in range(self._config.optimizer.num_steps):
            loaded = [each.result() for each in loading]
            if step + 1 < self._config.optimizer.num_steps:
                loading = self._begin(numbers)
            features = finite_features(method, [picture for picture, _ in loaded], looked_at)
            depth = torch.stack([depth for _, depth in loaded]).to(features.patches.device)
            yield Batch(with_class_token(features), features.grid, depth)

    def _begin(self, numbers: Iterator[tuple[int, int]]) -> list[Future[_Loaded]]:
        """Have the pictures of one step read."""
        return [self._pool.submit(self._load, *next(numbers)) for _ in range(self._config.optimizer.batch_size)]

    def _numbers(self) -> Iterator[tuple[int, int]]:
        """Pass over the data and number of the picture, for ever."""
        rng = torch.Generator().manual_seed(seed_for(self._seed, "order"))
        turn = 0
        while True:
            for number in torch.randperm(len(self._samples), generator=rng).tolist():
                yield turn, number
            turn += 1

    def _load(self, turn: int, number: int) -> _Loaded:
        seed = seed_for(self._seed, f"pass {turn}")
        sample = LaidOut(self._samples, self._layout, test=False, seed=seed)[number]
        rng = torch.Generator().manual_seed(seed_for(seed, sample.key))
        picture, depth = augment(sample, self._hw, self._config, rng)
        if tuple(depth.shape) != self._hw:  # of a picture that is smaller than the crop
            depth = functional.interpolate(depth[None, None], self._hw, mode="nearest-exact")[0, 0]
        return picture, depth
