"""Methods that fill a store: decomposition and SRT."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from time import perf_counter
from typing import Any, Protocol, runtime_checkable

from dvt.backbone.backbone import Backbone
from dvt.decomposition.closed_form import node_counts
from dvt.decomposition.config import DecomposeConfig, Solver
from dvt.decomposition.fine import warn_if_finer_than_nodes
from dvt.decomposition.run import decompose_image
from dvt.errors import ConfigError, ImageError
from dvt.field import Field, NodeGrid
from dvt.runtime import seed_for
from dvt.shapes import FeatureMap, ImageTensor
from dvt.srt.backbone import SrtBackbone
from dvt.srt.config import SrtConfig
from dvt.store import FieldMeta
from dvt.views.config import Layout


@dataclass(frozen=True, slots=True, eq=False)
class ImageMaps:
    """Maps of one image, made by a method."""

    maps: Mapping[str, FeatureMap]
    """(H, W, C) float32 on the CPU, by array name of the store."""
    field: Field | None
    """F, to be read at any grid; None: the method has none."""
    seconds: Mapping[str, float]
    """Seconds by kind of work: extract, solve."""


@runtime_checkable
class StoreMethod(Protocol):
    """Computes the clean features of images, one at a time."""

    @property
    def quality(self) -> str:
        """Name of the preset behind its options."""

    @property
    def settings(self) -> dict[str, Any]:
        """The options that change results, as plain JSON. A store compares them before a run continues it."""

    @property
    def field(self) -> FieldMeta | None:
        """F as a store holds it; None: it is not stored."""

    def __call__(self, image: ImageTensor, key: str) -> ImageMaps:
        """The maps of an image.

        Args:
            image: (3, y, x) RGB in [0, 1], any size.
            key: key of the image in the store.

        Raises:
            DvtError: this image fails; others may succeed.
        """


class ByDecomposition:
    """Stage 1: F as the clean map, G as the artifact.

    Args:
        backbone: the ViT.
        config: options of the decomposition; with `fine` above 1 a store also holds F.
        seed: seed of the run; each image derives its own from this and its key.
        quality: name of the preset behind `config`.

    Raises:
        ConfigError: `fine` above 1 with a solver whose F has no nodes.
    """

    def __init__(self, backbone: Backbone, config: DecomposeConfig, seed: int, quality: str):
        self.quality, self._backbone, self._seed = quality, backbone, seed
        self._config = replace(config, fine=1)  # the nodes are kept instead of the fine map
        self.field = None if config.fine == 1 else _field_meta(backbone, config)

    @property
    def settings(self) -> dict[str, Any]:
        """Options of the solver in use, and the seed."""
        return solver_settings(self._config) | {"seed": self._seed}

    def __call__(self, image: ImageTensor, key: str) -> ImageMaps:
        """Decompose an image; errors as `decompose_image`."""
        result = decompose_image(image, self._backbone, self._config, seed_for(self._seed, key))
        maps = {"raw": result.raw, "clean": result.clean, "artifact": result.artifact}
        return ImageMaps(maps, result.field, {part: result.diagnostics[f"{part}_s"] for part in ("extract", "solve")})


class BySrt:
    """SRT as the clean map: deterministic, without a solver and without an artifact map.

    Args:
        backbone: the ViT.
        config: the options of SRT.
        arrays: the maps to store.

    Raises:
        ConfigError: options that do not fit the ViT or a store, or a map that SRT does not make.
    """

    quality = "none"
    field = None

    def __init__(self, backbone: Backbone, config: SrtConfig, arrays: tuple[str, ...]):
        if config.fine != 1:
            raise ConfigError(
                f"srt.fine={config.fine}: a store holds raw and clean features of the same patches. Leave it out."
            )
        if "artifact" in arrays:
            raise ConfigError(f"arrays=[{','.join(arrays)}]: SRT makes no artifact. Give some of raw, clean.")
        self._srt = SrtBackbone(backbone, config)

    @property
    def settings(self) -> dict[str, Any]:
        """The options of SRT."""
        return {"solver": "srt", **self._srt.settings}

    def __call__(self, image: ImageTensor, key: str) -> ImageMaps:
        """Average over the shifts of an image.

        Raises:
            ImageError: the image is smaller than a patch.
        """
        height, width = image.shape[-2:]
        patch = self._srt.backbone.grid.patch
        if min(height, width) < patch:
            raise ImageError(
                f"the image is {height} x {width} px, smaller than one patch of {patch} px: give a larger image."
            )
        start_s = perf_counter()
        clean, raw = self._srt.with_raw(self._srt.preprocess(image.to(self._srt.device))[None])
        maps = {"raw": raw.patches[0].float().cpu(), "clean": clean.patches[0].float().cpu()}
        return ImageMaps(maps, None, {"extract": perf_counter() - start_s})


def _field_meta(backbone: Backbone, config: DecomposeConfig) -> FieldMeta:
    """F of the closed form, as a store holds it.

    Raises:
        ConfigError: another solver.
    """
    if config.solver is not Solver.closed_form:
        raise ConfigError(
            f"fine={config.fine} solver={config.solver.value}: a store holds F as nodes, and F of this solver is a"
            " network. Give solver=closed_form, or leave fine out; in Python, dvt.decompose(..., solver="
            f'"{config.solver.value}", fine={config.fine}).fine is its fine map.'
        )
    warn_if_finer_than_nodes(config, f"fine={config.fine}")
    nodes = NodeGrid(node_counts(backbone.grid, config.closed_form.nodes_per_patch))
    return FieldMeta(nodes, config.samples_per_patch)


def store_method(
    backbone: Backbone, config: DecomposeConfig | SrtConfig, seed: int, quality: str, arrays: tuple[str, ...]
) -> StoreMethod:
    """The method of the given options.

    Args:
        backbone: the ViT.
        config: options of the decomposition or of SRT.
        seed: seed of the run; unused by SRT.
        quality: name of the preset behind the decomposition's options.
        arrays: the maps to store.

    Raises:
        ConfigError: incompatible options, or a map that the method does not make.
    """
    if isinstance(config, DecomposeConfig):
        return ByDecomposition(backbone, config, seed, quality)
    return BySrt(backbone, config, arrays)


def solver_settings(config: DecomposeConfig) -> dict[str, Any]:
    """The options that change results, as plain JSON: those of the solver in use, without speed-only options."""
    settings: dict[str, Any] = {
        "solver": config.solver.value,
        "samples_per_patch": config.samples_per_patch,
        "views": asdict(config.views),
    }
    if config.views.layout is Layout.random:  # stores from before the layouts do not name it
        del settings["views"]["layout"]
    solver = settings[config.solver.value] = asdict(getattr(config, config.solver.value))
    if config.solver is Solver.closed_form:  # stores from before these options do not name them
        if config.closed_form.border_weight == 1:
            del solver["border_weight"]
        if config.closed_form.view_offset == 0:
            del solver["view_offset"], solver["offset_radius"]
    return settings
