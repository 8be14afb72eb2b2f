"""Names of ViTs: `<source>:<name>`, of timm without a source. A light module, imported to print help."""

from typing import Final

from dvt.errors import BackboneError
from dvt.paths import expand_home

TIMM: Final = "timm"
SOURCES: Final = {
    TIMM: "a catalogue name, or the name of a plain ViT of timm",
    "transformers": "a repository of the Hugging Face hub or a local folder, such as facebook/dinov2-small",
    "open_clip": "an architecture and its weights, such as ViT-B-16/laion2b_s34b_b88k",
    "torch_hub": "a repository of GitHub or a local folder, and its function: facebookresearch/dinov2:dinov2_vits14",
    "module": "a function of your own that makes the model: my_package.models:build",
}
"""Where a ViT can come from, and what its name is there."""


def joined_name(source: str, name: str) -> str:
    """The full name of a ViT; a local folder in it is absolute.

    Args:
        source: one of `SOURCES`.
        name: its name there, or its full name.

    Raises:
        BackboneError: there is no such source, or the full name has another one.

    Examples:
        >>> joined_name("transformers", "facebook/dinov2-small"), joined_name("timm", "dinov2_small")
        ('transformers:facebook/dinov2-small', 'dinov2_small')
    """
    if source not in SOURCES:
        raise BackboneError(f"backbone.source={source} does not exist: give one of {', '.join(SOURCES)}.")
    given, own = split_name(name)
    if given not in (TIMM, source) and source != TIMM:
        raise BackboneError(f"backbone.source={source}, but {name} is of {given}: leave one of them out.")
    source = given if source == TIMM else source
    return own if source == TIMM else f"{source}:{_absolute(source, own)}"


def split_name(full_name: str) -> tuple[str, str]:
    """The source of a ViT, and its name there.

    Examples:
        >>> split_name("torch_hub:facebookresearch/dinov2:dinov2_vits14")
        ('torch_hub', 'facebookresearch/dinov2:dinov2_vits14')
    """
    source, colon, name = full_name.partition(":")
    return (source, name) if colon and source in SOURCES else (TIMM, full_name)


def options_of(full_name: str) -> dict[str, str]:
    """The options of a command that name a ViT.

    Examples:
        >>> options_of("vit_small_patch16_224.dino"), options_of("transformers:facebook/dinov2-small")
        ({'timm': 'vit_small_patch16_224.dino'}, {'source': 'transformers', 'name': 'facebook/dinov2-small'})
    """
    source, name = split_name(full_name)
    return {"timm": name} if source == TIMM else {"source": source, "name": name}


def _absolute(source: str, name: str) -> str:
    """The name, with a local folder in it as an absolute path: it is the same from every folder."""
    folder, colon, function = name.rpartition(":") if source == "torch_hub" else (name, "", "")
    if source not in ("transformers", "torch_hub") or not folder or not expand_home(folder).is_dir():
        return name
    return f"{expand_home(folder).absolute()}{colon}{function}"
