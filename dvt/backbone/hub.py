"""The Hugging Face hub: the weights file of a model of timm, from the cache or downloaded."""

from pathlib import Path

import timm
from huggingface_hub import get_hf_file_metadata, hf_hub_download, hf_hub_url, try_to_load_from_cache
from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

from dvt.errors import WeightsError

_FILES = ("model.safetensors", "pytorch_model.bin")
_LOCAL = "backbone.weights=<file> (weights=<file> in Python)"


def fetch_weights(timm_name: str) -> Path:
    """The pretrained weights of a model of timm as a local file.

    Raises:
        WeightsError: timm names no repository for it, or the hub cannot be reached; with what to give instead.
    """
    config = timm.get_pretrained_cfg(timm_name)
    if config is None or not config.hf_hub_id:
        address = f" (they may lie at {config.url})" if config is not None and config.url else ""
        raise WeightsError(
            f"timm knows no weights of {timm_name} on the hub{address}. Give a file with {_LOCAL}, a name with a tag"
            " that has weights, or weights=random for an untrained model."
        )
    files = (config.hf_hub_filename,) if config.hf_hub_filename else _FILES
    try:
        return _fetch_first(config.hf_hub_id, files)
    except Exception as error:  # each huggingface_hub raises the errors of another HTTP library
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        raise WeightsError(
            f"the weights of {timm_name} could not be fetched: file {files[0]} of {config.hf_hub_id} on the Hugging"
            f" Face hub ({reason}). Check the connection and try again, or download that file elsewhere and give it"
            f" with {_LOCAL}."
        ) from error


def _fetch_first(repository: str, files: tuple[str, ...]) -> Path:
    for file in files:
        cached = try_to_load_from_cache(repository, file)
        if isinstance(cached, str):
            return Path(cached)
    for file in files:
        try:
            get_hf_file_metadata(hf_hub_url(repository, file))  # one question: the download itself retries for long
        except LocalEntryNotFoundError:
            raise
        except EntryNotFoundError:
            if file == files[-1]:
                raise
            continue
        return Path(hf_hub_download(repository, file))
    raise AssertionError("at least one file is asked for")
