"""The weights file of a model of timm: with the project, from the cache of the Hugging Face hub, or downloaded."""

from pathlib import Path

import timm

from dvt.backbone.micro import MICRO, embedded_weights
from dvt.errors import WeightsError
from dvt.weights.hf_hub import fetch_file, reason_of

_FILES = ("model.safetensors", "pytorch_model.bin")
_LOCAL = "backbone.weights=<file> (weights=<file> in Python)"


def fetch_weights(timm_name: str) -> Path:
    """The pretrained weights of a model of timm as a local file.

    Raises:
        WeightsError: timm names no repository for it, or the hub cannot be reached; with what to give instead.
    """
    if timm_name == MICRO:
        return embedded_weights()
    config = timm.get_pretrained_cfg(timm_name)
    if config is None or not config.hf_hub_id:
        address = f" (they may lie at {config.url})" if config is not None and config.url else ""
        raise WeightsError(
            f"timm knows no weights of {timm_name} on the hub{address}. Give a file with {_LOCAL}, a name with a tag"
            " that has weights, or weights=random for an untrained model."
        )
    files = (config.hf_hub_filename,) if config.hf_hub_filename else _FILES
    try:
        return fetch_file(config.hf_hub_id, files)
    except Exception as error:  # each huggingface_hub raises the errors of another HTTP library
        raise WeightsError(
            f"the weights of {timm_name} could not be fetched: file {files[0]} of {config.hf_hub_id} on the Hugging"
            f" Face hub ({reason_of(error)}). Check the connection and try again, or download that file elsewhere and"
            f" give it with {_LOCAL}."
        ) from error
