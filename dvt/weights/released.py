"""The files that the paper's authors released, and their names."""

from dataclasses import dataclass
from difflib import get_close_matches

from dvt.backbone.catalogue import CATALOGUE

REPOSITORY = "jjiaweiyang/DVT"
"""Their repository on the Hugging Face hub (MIT)."""

DISTILLED = "_distilled"
"""Suffix of recipes whose files hold a whole ViT."""


@dataclass(frozen=True, slots=True)
class Released:
    """One file of the authors."""

    recipe: str
    """Folder of the file: training images and stage."""
    timm: str
    """The ViT, by its timm name."""
    seen: bool
    """Whether the file was seen in the repository; else only a table of the authors names the model."""

    @property
    def name(self) -> str:
        """Recipe and timm name."""
        return f"{self.recipe}/{self.timm}"

    @property
    def file(self) -> str:
        """Its path in the repository."""
        return f"{self.name}.pth"

    @property
    def is_distilled(self) -> bool:
        """Whether it is a whole ViT."""
        return is_distilled(self.recipe)


_BASES = ("dinov2_base", "dinov2_reg_base", "deit3_base", "clip_base", "dino_base", "mae_base", "eva02_base",
          "augreg_base")  # fmt: skip
_SEEN = ("dinov2_base", "dinov2_reg_base", "deit3_base", "dino_base", "mae_base", "eva02_base")
_OTHER_SIZES = ("dinov2_small", "dinov2_large", "dinov2_reg_small", "dinov2_reg_large")


def _rows() -> list[Released]:
    short = [("voc_denoised", name, name in _SEEN) for name in (*_BASES, *_OTHER_SIZES)]
    short += [("imgnet_denoised", "dinov2_base", True)]
    short += [("voc_distilled", name, False) for name in _BASES]
    short += [("imgnet_distilled", "dinov2_base", False)]  # the authors' own demo loads it
    return [Released(recipe, CATALOGUE[name].timm, seen) for recipe, name, seen in short]


RELEASED = {row.name: row for row in _rows()}
"""Every file of the authors, by name."""

RECIPES = tuple(dict.fromkeys(row.recipe for row in RELEASED.values()))
"""The folders of the authors."""

_SHORT = {row.timm: row.name for row in CATALOGUE.values()}


def is_distilled(recipe: str) -> bool:
    """Whether the files of a recipe hold whole ViTs."""
    return recipe.endswith(DISTILLED)


def timm_spelling(name: str) -> str:
    """A name with the timm name for the catalogue's: the file name of `voc_denoised/dinov2_base`."""
    recipe, slash, model = name.rpartition("/")
    return f"{recipe}{slash}{CATALOGUE[model].timm if model in CATALOGUE else model}"


def catalogue_spelling(name: str) -> str:
    """The inverse of `timm_spelling`, for ViTs of the catalogue."""
    recipe, slash, model = name.rpartition("/")
    return f"{recipe}{slash}{_SHORT.get(model, model)}"


def nearest(name: str, names: list[str]) -> list[str]:
    """The names most similar to an unknown one, in the nearer spelling."""
    both = list(dict.fromkeys([*map(catalogue_spelling, names), *names]))
    return [each for each in both if name in each.split("/")][:4] or get_close_matches(name, both, n=3, cutoff=0.5)
