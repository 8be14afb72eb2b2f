"""From the name of a ViT to its untrained model and to its facts, whatever its source."""

from collections.abc import Mapping
from functools import cache
from typing import Any

import torch

from dvt.backbone.names import TIMM, joined_name, split_name
from dvt.backbone.reader import TokenReader, VitFacts
from dvt.runtime import seed_for


def make_reader(
    full_name: str, *, trust_remote_code: bool = False, made_from: Mapping[str, Any] | None = None
) -> TokenReader:
    """A ViT without its weights, on the CPU. The weights are random, but the same each time for one name.

    Args:
        full_name: a catalogue name, a name in timm, or `<source>:<name>`.
        trust_remote_code: whether code of a hub may be run.
        made_from: what it is built from besides its name, as a model folder holds it; None: asks the source.

    Raises:
        BackboneError: there is no such model, it has no patch tokens, or its library is not installed.
    """
    source, name = split_name(full_name)
    known = made_from or {}
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed_for(0, full_name))
        match source:
            case "transformers":
                from dvt.backbone.sources.transformers_reader import transformers_reader

                return transformers_reader(name, trust_remote_code=trust_remote_code, made_from=known)
            case "open_clip":
                from dvt.backbone.sources.open_clip_reader import open_clip_reader

                return open_clip_reader(name)
            case "torch_hub":
                from dvt.backbone.sources.torch_hub_reader import torch_hub_reader

                return torch_hub_reader(name, trust_remote_code=trust_remote_code)
            case "module":
                from dvt.backbone.sources.module_reader import factory_reader

                return factory_reader(name)
            case _:
                from dvt.backbone.sources.timm_reader import timm_reader

                return timm_reader(name)


def published_name(name: str) -> str:
    """The full name of a ViT: of timm with the tag of its weights, of another source as it is.

    Raises:
        BackboneError: there is no such ViT in timm.

    Examples:
        >>> published_name("vit_micro"), published_name("transformers:facebook/dinov2-small")
        ('vit_micro_patch16_224.dvt', 'transformers:facebook/dinov2-small')
    """
    return facts_of(name).name if split_name(name)[0] == TIMM else joined_name(TIMM, name)


@cache
def facts_of(full_name: str, *, trust_remote_code: bool = False) -> VitFacts:
    """The facts of a ViT, from its name alone; no weights are read, and of timm none are made.

    Args:
        full_name: a catalogue name, the name of a plain ViT of timm, or `<source>:<name>`.
        trust_remote_code: whether code of a hub may be run.

    Raises:
        BackboneError: there is none; with the nearest names.
    """
    source, _ = split_name(full_name)
    if source in ("timm", "transformers"):
        with torch.device("meta"):
            return make_reader(full_name, trust_remote_code=trust_remote_code).facts
    return make_reader(full_name, trust_remote_code=trust_remote_code).facts
