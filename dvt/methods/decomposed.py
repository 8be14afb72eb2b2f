"""Stage 1 as a method."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from dvt.backbone.features import Features
from dvt.decomposition.config import DecomposeConfig
from dvt.decomposition.fine import warn_if_finer_than_nodes
from dvt.decomposition.result import Decomposition
from dvt.decomposition.run import decompose_image
from dvt.decomposition.store_method import solver_settings
from dvt.grid import PatchGrid
from dvt.methods.config import Position, PositionKind
from dvt.methods.method import Images, Method, Model, OnePass
from dvt.methods.names import MethodName
from dvt.methods.position import to_cells
from dvt.progress import SILENT, Reporter
from dvt.runtime import seed_for
from dvt.shapes import AnySizeImage, FineMap, ImageBatch
from dvt.spec import FeatureSpec


class AtSize:
    """A model whose default image size is replaced by `image_hw`.

    Raises:
        GeometryError: the size does not fit patch and stride.
    """

    def __init__(self, model: Model, image_hw: tuple[int, int]):
        self._model, self.grid, self.device = model, model.grid_for(image_hw), model.device
        self.layers = model.spec.layers

    def __call__(self, images: ImageBatch) -> Features:
        """The features of the model."""
        return self._model(images)


class Decomposed:
    """The clean term F of every image, by stage 1, or F and a share of G; class and register tokens are the raw ones.

    Args:
        backbone: the ViT.
        config: options of stage 1; F is read at `fine` cells per patch along each side.
        seed: the views of an image depend on it and on the pixels.
        quality: name of the quality that `config` is, for tables.
        position: share of the artifact G that is added to F, in [0, 1]; all cells of a patch get the same vector.
    """

    def __init__(
        self,
        backbone: Model,
        config: DecomposeConfig,
        seed: int = 0,
        *,
        quality: str | None = None,
        position: float = 0.0,
    ):
        added = Position(PositionKind.removed, position) if position else None
        self.name = MethodName("decomposed", quality, fine=config.fine, position=added).full
        warn_if_finer_than_nodes(config, self.name)
        self._raw, self._config, self._seed, self._position = OnePass("raw", backbone), config, seed, position
        self.spec: FeatureSpec = replace(backbone.spec, grid=backbone.spec.grid.finer(config.fine))
        self._fit: Mapping[str, Any] = {**self._raw.options, **solver_settings(config), "seed": seed}
        self.options: Mapping[str, Any] = {**self._fit, **({"position": added.suffix} if added else {})}
        views = config.views
        self.cost = views.num_views + views.held_out_views + 2  # the full view; the image for class and register tokens

    def grid_for(self, image_hw: tuple[int, int]) -> PatchGrid:
        """The patches at an image size (height, width)."""
        return self._raw.grid_for(image_hw).finer(self._config.fine)

    def __call__(self, images: Images, image_hw: tuple[int, int]) -> Features:
        """Features of images."""
        return self.read([self], images, image_hw)[0]

    def decompose(self, image: AnySizeImage, image_hw: tuple[int, int], reporter: Reporter = SILENT) -> Decomposition:
        """Stage 1 of one image, from which `features_from` reads the features of this method."""
        content = hashlib.sha256(image.contiguous().cpu().numpy().tobytes()).hexdigest()
        seed = seed_for(self._seed, content)
        return decompose_image(image, AtSize(self._raw.model, image_hw), self._config, seed, reporter)

    def features_from(self, found: Decomposition, image_hw: tuple[int, int]) -> FineMap:
        """Features of this method, on the CPU; `found` may come from another method of the same F and G."""
        fine, grid = self._config.fine, self.grid_for(image_hw)
        known = {found.fine_grid: found.fine, found.grid: found.clean}
        clean = known[grid] if grid in known else found.field.read(grid)
        if not self._position:
            return clean
        return clean + self._position * to_cells(found.artifact[None], fine)[0]

    def same_field(self, other: Method) -> bool:
        """Whether the other method reads the same F and G, of the same ViT, at any cells and with any position."""
        return isinstance(other, Decomposed) and self._raw.model is other._raw.model and self._fit == other._fit

    def read(self, methods: Sequence["Decomposed"], images: Images, image_hw: tuple[int, int]) -> list[Features]:
        """Features of several methods of the same F, which is fitted once: one `Features` per method."""
        raw = self._raw(images, image_hw)
        maps: list[list[Tensor]] = [[] for _ in methods]
        for image in images:
            found = self.decompose(image, image_hw)
            for method, read in zip(methods, maps, strict=True):
                read.append(method.features_from(found, image_hw).to(raw.patches))
        return [
            Features(patches=torch.stack(read), prefix=raw.prefix, grid=method.grid_for(image_hw))
            for method, read in zip(methods, maps, strict=True)
        ]
