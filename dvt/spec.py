"""FeatureSpec: which features these are."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from dvt.grid import PatchGrid
from dvt.settings import differences


@dataclass(frozen=True, slots=True, kw_only=True)
class FeatureSpec:
    """Identity of the features of a ViT: two feature maps may be compared, stored or trained together if it is equal.

    Stores, model folders, checkpoints and the fingerprints of methods each hold one.

    Examples:
        >>> from dvt.grid import PatchGrid
        >>> spec = FeatureSpec(
        ...     backbone="vit_micro_patch16_224.dvt", weights_hash="ab12", layer=5, norm=True,
        ...     grid=PatchGrid.of((224, 224), patch=16), channels=96,
        ... )
        >>> FeatureSpec.from_json(spec.to_json()) == spec
        True
        >>> spec.differences(FeatureSpec.from_json(spec.to_json() | {"layer": 3}), "store", "ViT")
        ['layer: 5 in the store, 3 in the ViT']
    """

    backbone: str
    """Full timm name of the ViT, with the tag of its weights."""
    weights_hash: str | None
    """sha256 that identifies the weights; None: not recorded, equal to any."""
    layer: int
    """Index of the block whose output is taken, counted from 0; -1 is the last. Of several, the last of them."""
    norm: bool
    """Whether the final norm is applied."""
    grid: PatchGrid
    """Image size, patch and stride."""
    channels: int
    """C, channels of a feature vector; of several blocks, of all together."""
    earlier_layers: tuple[int, ...] = ()
    """Further blocks before `layer`, ascending; their features stand in front of its own, in the channels."""

    @property
    def layers(self) -> tuple[int, ...]:
        """All blocks whose outputs are taken, in the order of the channels."""
        return (*self.earlier_layers, self.layer)

    @property
    def shape(self) -> tuple[int, int, int]:
        """(H, W, C) of a feature map."""
        return (*self.grid.hw, self.channels)

    def differences(
        self, other: "FeatureSpec", this: str = "first", that: str = "second", *, ignore: tuple[str, ...] = ()
    ) -> list[str]:
        """One line per field that differs; empty where the features are the same.

        Args:
            other: the spec to compare with.
            this: what holds this spec, for the text: "store".
            that: what holds the other.
            ignore: names of fields that may differ, such as the grid where sizes are free.
        """
        mine, theirs = ({entry.name: getattr(spec, entry.name) for entry in fields(self)} for spec in (self, other))
        skipped = {*ignore, "weights_hash"} if None in (self.weights_hash, other.weights_hash) else set(ignore)
        for name in skipped:
            del mine[name], theirs[name]
        return differences(mine, theirs, this, that)

    def to_json(self) -> dict[str, Any]:
        """The spec as plain JSON values."""
        grid = {"image_hw": list(self.grid.image_hw), "patch": self.grid.patch, "stride": self.grid.stride}
        if self.grid.fine > 1:
            grid["fine"] = self.grid.fine
        body = {entry.name: getattr(self, entry.name) for entry in fields(self)} | {"grid": grid}
        earlier = list(body.pop("earlier_layers"))
        return body | {"earlier_layers": earlier} if earlier else body

    @classmethod
    def from_json(cls, body: Mapping[str, Any]) -> "FeatureSpec":
        """Read what `to_json` wrote; further entries are left alone.

        Raises:
            KeyError: an entry is missing.
            TypeError: an entry has another type.
            ValueError: the image has not two sides.
            GeometryError: the grid does not fit together.
        """
        earlier = body.get("earlier_layers", [])
        if type(earlier) is not list or any(type(layer) is not int for layer in earlier):
            raise TypeError(f"earlier_layers is {earlier!r}, not a list of whole numbers")
        values = {entry.name: body[entry.name] for entry in fields(cls) if entry.name != "earlier_layers"}
        for name, kinds in _TYPES.items():
            if type(values[name]) not in kinds:
                raise TypeError(f"{name} is {values[name]!r}, not of type {kinds[0].__name__}")
        grid = values["grid"]
        height, width = grid["image_hw"]
        patch, stride, fine = grid["patch"], grid["stride"], grid.get("fine", 1)
        if any(type(number) is not int for number in (height, width, patch, stride, fine)):
            raise TypeError(f"grid is {grid!r}, not of whole numbers")
        grid = PatchGrid.of((height, width), patch, stride).finer(fine)
        return cls(**values | {"grid": grid, "earlier_layers": tuple(earlier)})


def layers_text(layers: tuple[int, ...], word: str = "layer") -> str:
    """Blocks as text.

    Examples:
        >>> layers_text((11,)), layers_text((2, 5, 8, 11), "block")
        ('layer 11', 'blocks 2, 5, 8 and 11')
    """
    *before, last = layers
    return f"{word}s {', '.join(map(str, before))} and {last}" if before else f"{word} {last}"


_TYPES: dict[str, tuple[type, ...]] = {
    "backbone": (str,), "weights_hash": (str, type(None)), "layer": (int,), "norm": (bool,), "grid": (dict,),
    "channels": (int,),
}  # fmt: skip
