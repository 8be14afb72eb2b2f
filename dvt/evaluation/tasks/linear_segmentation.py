"""LinearSegmentation: how well a linear probe, or a head that sees whole images, separates the classes."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch.nn import functional

from dvt.errors import ConfigError
from dvt.evaluation.class_scores import patch_image_hw, score_patches, summary
from dvt.evaluation.config.segmentation import (
    DatasetName,
    DptProbeConfig,
    LinearProtocol,
    LinearSegmentationConfig,
    TokensProbeConfig,
)
from dvt.evaluation.datasets.segmentation import find_data
from dvt.evaluation.layouts import LaidOut, metrics_in, score_layouts
from dvt.evaluation.metrics import AACC, MACC, MIOU, MIOU_PATCHES, MIOU_PIXELS, Confusion
from dvt.evaluation.patches import features_and_targets, majority_labels, upsample_scores, winners
from dvt.evaluation.probes.dpt import CELLS
from dvt.evaluation.probes.dpt_segmentation import DptSegmenter
from dvt.evaluation.probes.linear import PatchProbe, train_probe
from dvt.evaluation.probes.segmenter import Segmenter, train_segmenter
from dvt.evaluation.probes.token_segmentation import TokenSegmenter
from dvt.evaluation.probes.window_probe import BatchNormHead, Windowed, train_head, window_logits
from dvt.evaluation.task import Scores
from dvt.methods.cache import without_cache
from dvt.methods.method import Method
from dvt.progress import SILENT, Reporter
from dvt.shapes import FeatureMaps


class LinearSegmentation:
    """Semantic segmentation by a linear probe on frozen features.

    Protocol `patches`: softmax regression on the patches of whole images; memory 4 N H W C bytes for N training images.
    Protocol `windows` (the paper's): a head trained on random crops and tested in sliding windows; features are made
    when needed and not kept.
    Protocols `dpt` and `semantic_tokens`: a head that is trained and tested on whole images; memory as `patches`.

    Attributes:
        name: linear_segmentation.
        metrics: mIoU first; names end with the layout, except for the usual one.
        protocol: how it measures.
    """

    name = "linear_segmentation"

    def __init__(self, config: LinearSegmentationConfig, data: Path):
        """Find and check the data set in the folder `data`.

        Raises:
            ConfigError: options that do not go together.
            EvaluationError: files are missing or do not pair.
        """
        self._config, self._data = config, find_data(config, data)
        default = LinearProtocol.patches if config.dataset is DatasetName.camvid else LinearProtocol.windows
        chosen = config.protocol or default
        self._by_patches = chosen is LinearProtocol.patches
        heads: dict[LinearProtocol, DptProbeConfig | TokensProbeConfig] = {
            LinearProtocol.dpt: config.dpt,
            LinearProtocol.semantic_tokens: config.semantic_tokens,
        }
        self._head_config = heads.get(chosen)
        about: dict[str, Any] = {"protocol": str(chosen), **self._data.about}
        if self._by_patches:
            self._size = patch_image_hw(config)
            about |= {"image_size": list(self._size), **asdict(config.patches)}
        elif self._head_config is not None:
            self._size = patch_image_hw(config)
            about |= {"image_size": list(self._size), **asdict(self._head_config)}
        elif config.image_size is not None:
            raise ConfigError(
                f"image_size={config.image_size} has no effect with protocol=windows: give windows.size,"
                " windows.stride and windows.short_side, or protocol=patches."
            )
        else:
            about |= {key: value for key, value in asdict(config.windows).items() if key != "num_workers"}
        metrics = (MIOU_PATCHES, MIOU_PIXELS) if self._by_patches else (MIOU, MACC, AACC)
        self.metrics = metrics_in(metrics, config.layouts)
        self.protocol = about | {"layouts": [layout.value for layout in config.layouts], "seeds": config.seeds}

    def evaluate(self, method: Method, reporter: Reporter = SILENT) -> Scores:
        """Train probes on the features of a method, and test them.

        Returns:
            For every metric one value per seed, in percent.

        Raises:
            GeometryError: the image size does not fit the patches of the method.
            ImageError: an image cannot be read.
            EvaluationError: labels cannot be read or do not fit; features are not finite; nothing to train on.
        """

        def fit_patches(samples: LaidOut) -> tuple[tuple[list[PatchProbe], frozenset[int]], Sequence[str]]:
            return self._patch_probes(method, samples, reporter), ()

        def score_in_patches(fitted: tuple[list[PatchProbe], frozenset[int]], samples: LaidOut) -> Scores:
            return score_patches(method, samples, *fitted, self._data, self._size, reporter)

        def fit_windows(samples: LaidOut) -> tuple[tuple[list[BatchNormHead], frozenset[int]], Sequence[str]]:
            return self._window_heads(method, samples, reporter), ()

        def score_in_windows(fitted: tuple[list[BatchNormHead], frozenset[int]], samples: LaidOut) -> Scores:
            return self._in_windows(method, samples, *fitted, reporter)

        def fit_heads(samples: LaidOut) -> tuple[tuple[list[Segmenter], frozenset[int]], Sequence[str]]:
            return self._segmenters(method, samples, reporter), ()

        def score_by_pixels(fitted: tuple[list[Segmenter], frozenset[int]], samples: LaidOut) -> Scores:
            return self._by_pixels(method, samples, *fitted, reporter)

        layouts, train, test = self._config.layouts, self._data.train, self._data.test
        if self._head_config is not None:
            return score_layouts(layouts, train, test, fit_heads, score_by_pixels)
        if self._by_patches:
            return score_layouts(layouts, train, test, fit_patches, score_in_patches)
        return score_layouts(layouts, train, test, fit_windows, score_in_windows)

    def _patch_probes(
        self, method: Method, samples: LaidOut, reporter: Reporter
    ) -> tuple[list[PatchProbe], frozenset[int]]:
        """A probe per seed, and the classes in the training labels."""
        num_classes, seeds = self._data.num_classes, self._config.seeds
        maps, majority = [], []
        for features, targets in features_and_targets(method, samples, self._size, reporter):
            maps.append(features.patches.cpu())
            majority += [majority_labels(target, features.grid, num_classes) for target in targets]
        tokens, labels = torch.cat(maps).flatten(0, 2), torch.stack(majority).flatten()
        probes = []
        reporter.start(seeds, "probes", f"{method.name} probes")
        for seed in range(seeds):
            probes.append(train_probe(tokens, labels, num_classes, self._config.patches, seed))
            reporter.advance()
        return probes, frozenset(labels[labels >= 0].tolist())

    def _segmenters(
        self, method: Method, samples: LaidOut, reporter: Reporter
    ) -> tuple[list[Segmenter], frozenset[int]]:
        """A head per seed, and the classes in the training labels."""
        num_classes, seeds, config = self._data.num_classes, self._config.seeds, self._head_config
        assert config is not None
        maps, cells = [], []
        for features, targets in features_and_targets(method, samples, self._size, reporter):
            maps.append(features.patches.cpu())
            cells += [majority_labels(target, features.grid.finer(CELLS), num_classes) for target in targets]
        kept, labels = torch.cat(maps), torch.stack(cells)
        heads: list[Segmenter] = []
        reporter.start(seeds, "heads", f"{method.name} heads")
        for seed in range(seeds):
            head = self._new_segmenter(kept, len(method.spec.layers), seed)
            heads.append(train_segmenter(head, kept, labels, config, seed))
            reporter.advance()
        return heads, frozenset(labels[labels >= 0].tolist())

    def _new_segmenter(self, features: FeatureMaps, num_layers: int, seed: int) -> Segmenter:
        """The head of the protocol, untrained.

        Raises:
            ConfigError: more blocks than dpt has scales for.
        """
        config, num_classes = self._head_config, self._data.num_classes
        if isinstance(config, DptProbeConfig):
            return DptSegmenter(features, num_layers, num_classes, config, seed)
        assert config is not None
        return TokenSegmenter(features, num_layers, num_classes, config, seed)

    def _by_pixels(
        self,
        method: Method,
        samples: LaidOut,
        heads: Sequence[Segmenter],
        trained: frozenset[int],
        reporter: Reporter,
    ) -> Scores:
        """Scores of heads on whole images, by the pixel; they share the features."""
        runs = [Confusion(self._data.num_classes) for _ in heads]
        for features, targets in features_and_targets(method, samples, self._size, reporter):
            grid = features.grid.finer(CELLS)
            for head, run in zip(heads, runs, strict=True):
                for scores, target in zip(head(features.patches.cpu()), targets, strict=True):
                    hw = (target.shape[0], target.shape[1])
                    run.add(target, winners(upsample_scores(scores[None], grid, hw)[0]))
        return self._of_pixels(runs, trained)

    def _of_pixels(self, runs: Sequence[Confusion], trained: frozenset[int]) -> Scores:
        notes, details = summary("pixels", runs, trained, self._data.class_names)
        values = {
            "mIoU": tuple(100 * run.mean_iou for run in runs),
            "mAcc": tuple(100 * run.mean_accuracy for run in runs),
            "aAcc": tuple(100 * run.accuracy for run in runs),
        }
        return Scores(values=values, notes=tuple(notes), details={"pixels": details})

    def _window_heads(
        self, method: Method, samples: LaidOut, reporter: Reporter
    ) -> tuple[list[BatchNormHead], frozenset[int]]:
        """A head per seed, and the classes in the crops. Features of training crops are not cached."""
        config = self._config.windows
        windowed = Windowed(without_cache(method), config.size)
        runs = [
            train_head(windowed, samples, self._data.num_classes, config, seed, reporter)
            for seed in range(self._config.seeds)
        ]
        return [head for head, _ in runs], frozenset.union(*(classes for _, classes in runs))

    def _in_windows(
        self,
        method: Method,
        samples: LaidOut,
        heads: Sequence[BatchNormHead],
        trained: frozenset[int],
        reporter: Reporter,
    ) -> Scores:
        """Scores of heads, by the pixel; they share the features."""
        config = self._config.windows
        windowed = Windowed(method, config.size)
        runs = [Confusion(self._data.num_classes) for _ in heads]
        reporter.start(len(samples), "images", f"{method.name} test windows")
        for number in range(len(samples)):
            sample = samples[number]
            for logits, run in zip(window_logits(windowed, heads, sample.image, config), runs, strict=True):
                hw = tuple(sample.target.shape)
                at_labels = functional.interpolate(logits[None], hw, mode="bilinear", align_corners=False)
                run.add(sample.target, winners(at_labels[0]))
            reporter.advance()
        return self._of_pixels(runs, trained)
