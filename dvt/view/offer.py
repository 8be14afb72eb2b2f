"""What can be chosen in the page: ViTs, and for each its blocks, image sizes and methods."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from dvt.errors import ConfigError, GeometryError
from dvt.grid import PatchGrid

_SIDES = (224, 336, 448, 512, 672, 768)
"""Sides in pixels that are offered besides the default, rounded to whole patches."""


@dataclass(frozen=True, slots=True)
class Choice:
    """What was chosen for an image."""

    backbone: str
    """Name of the ViT, as its offer has it."""
    layers: tuple[int, ...]
    """Blocks whose outputs are taken, counted from 0."""
    image_hw: tuple[int, int]
    """Height and width in pixels that the image is resized to."""
    methods: tuple[str, ...]
    """Names of methods."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """What can be chosen for one ViT. The first of layers and sizes is the default.

    Examples:
        >>> offer = Offer(
        ...     name="vit", grid=PatchGrid.of((224, 224), 16), layers=((5,), (4,)), methods=("raw", "denoised"),
        ...     trained=("denoised",), ticked=("raw", "denoised"),
        ... )
        >>> offer.choice(layer="4", size="224x224", methods="raw").layers
        (4,)
    """

    name: str
    """Name of the ViT in the list."""
    grid: PatchGrid
    """Patches at the default size."""
    layers: tuple[tuple[int, ...], ...]
    """Choices of blocks."""
    methods: tuple[str, ...]
    """Names of methods, in the order of the page."""
    trained: tuple[str, ...] = ()
    """Those that exist at the first choice of blocks alone, as they were trained there."""
    ticked: tuple[str, ...]
    """Those that are chosen at first."""

    @property
    def sizes(self) -> dict[str, PatchGrid]:
        """Patches at every size that is offered, by its text: "224x224"."""
        sides = sorted({round(side / self.grid.patch) * self.grid.patch for side in _SIDES})
        grids = [self.grid, *filter(None, (self._square_grid(side) for side in sides))]
        return {size_text(grid.image_hw): grid for grid in grids}

    def _square_grid(self, side: int) -> PatchGrid | None:
        """The patches of a square image; None where patch and stride do not fit into it."""
        try:
            return PatchGrid.of((side, side), self.grid.patch, self.grid.stride)
        except GeometryError:
            return None

    def methods_at(self, layers: tuple[int, ...]) -> tuple[str, ...]:
        """The methods that exist at these blocks."""
        return tuple(name for name in self.methods if layers == self.layers[0] or name not in self.trained)

    def choice(self, *, layer: str, size: str, methods: str) -> Choice:
        """What was chosen, from its texts.

        Args:
            layer: number of a block, or several: "2,5,8"; empty: the default.
            size: height and width: "224x224"; empty: the default.
            methods: names, with commas between them; empty: those that are ticked at first.

        Raises:
            ConfigError: it is not offered.
        """
        by_text = {layers_text(each): each for each in self.layers}
        layers = self.layers[0] if not layer else by_text.get(layer)
        if layers is None:
            raise ConfigError(f"layer={layer}: {self.name} is offered at {', '.join(by_text)}.")
        grid = self.grid if not size else self.sizes.get(size)
        if grid is None:
            raise ConfigError(f"size={size}: {self.name} is offered at {', '.join(self.sizes)}.")
        known = self.methods_at(layers)
        names = methods.split(",") if methods else [name for name in self.ticked if name in known]
        if unknown := [name for name in names if name not in known]:
            raise ConfigError(
                f"methods={methods}: {self.name} has no {' and no '.join(unknown)} at layer {layers_text(layers)};"
                f" there are {', '.join(known)}."
            )
        return Choice(self.name, layers, grid.image_hw, tuple(name for name in known if name in names))

    def to_json(self) -> dict[str, Any]:
        """What the page needs, as plain JSON."""
        return {
            "name": self.name,
            "layers": [layers_text(each) for each in self.layers],
            "sizes": [{"value": text, "text": _grid_text(grid)} for text, grid in self.sizes.items()],
            "methods": list(self.methods),
            "trained": list(self.trained),
            "ticked": list(self.ticked),
        }


def size_text(image_hw: tuple[int, int]) -> str:
    """Height and width as a text: "224x224"."""
    return f"{image_hw[0]}x{image_hw[1]}"


def layers_text(layers: tuple[int, ...]) -> str:
    """Blocks as a text: "2,5,8"."""
    return ",".join(map(str, layers))


def choose(
    offers: Mapping[str, Offer], *, backbone: str = "", layer: str = "", size: str = "", methods: str = ""
) -> Choice:
    """What was chosen, from its texts; what is empty has its default.

    Raises:
        ConfigError: it is not offered.
    """
    name = backbone or next(iter(offers))
    if name not in offers:
        raise ConfigError(
            f"backbone={name} is not offered here: there is {', '.join(offers)}. Start dvt view with"
            f" backbones=[{','.join([*offers, name])}] to have it."
        )
    return offers[name].choice(layer=layer, size=size, methods=methods)


def _grid_text(grid: PatchGrid) -> str:
    (height, width), (rows, columns) = grid.image_hw, grid.hw
    return f"{height if height == width else f'{height} × {width}'} px, {rows} × {columns} patches"
