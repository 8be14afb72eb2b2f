"""The Hugging Face hub: fetch files and models, push models."""

import tempfile
from collections.abc import Mapping
from pathlib import Path

from huggingface_hub import HfApi, get_hf_file_metadata, hf_hub_download, hf_hub_url, try_to_load_from_cache
from huggingface_hub.errors import (
    EntryNotFoundError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from torch import Tensor

from dvt.errors import WeightsError, first_line
from dvt.weights.folder import WEIGHTS_FILE, save_model
from dvt.weights.info import CONFIG_FILE, ModelInfo


def fetch_file(repository: str, files: tuple[str, ...]) -> Path:
    """The first of some files that a repository has; one in the cache is taken without asking the hub.

    Raises:
        Exception: of the client; its versions raise errors of different HTTP libraries.
    """
    assert files
    for file in files:
        cached = try_to_load_from_cache(repository, file)
        if isinstance(cached, str):
            return Path(cached)
    for file in files:
        try:
            get_hf_file_metadata(hf_hub_url(repository, file))  # one request: the download itself retries for long
        except LocalEntryNotFoundError:
            raise
        except EntryNotFoundError:
            if file == files[-1]:
                raise
            continue
        break
    return Path(hf_hub_download(repository, file))


def fetch_model(
    repository: str,
    *,
    revision: str | None = None,
    token: str | bool | None = None,
    cache_dir: str | Path | None = None,
    local_files_only: bool = False,
) -> Path:
    """The folder of a model in the cache, both files of one commit; the newest if the hub answers.

    Args:
        repository: `owner/name`.
        revision: branch, tag or commit; None is the main branch.
        token: for private repositories; None is the one that `hf auth login` keeps.
        cache_dir: another cache.
        local_files_only: do not ask the hub.

    Raises:
        WeightsError: there is no such model, or the hub cannot be reached and it is not in the cache.
    """
    try:
        return _folder(repository, revision, token, cache_dir, local_files_only)
    except Exception as error:  # huggingface_hub raises errors of its HTTP library
        raise WeightsError(
            f"the model {repository} could not be fetched: {CONFIG_FILE} and {WEIGHTS_FILE} of {repository} on the"
            f" Hugging Face hub ({first_line(error)}). Check the name and the connection and try again, or download"
            f" both files elsewhere into one folder and give that folder."
        ) from error


def push_model(
    repository: str,
    state: Mapping[str, Tensor],
    info: ModelInfo,
    *,
    private: bool | None = None,
    token: str | None = None,
    revision: str | None = None,
    create_pr: bool = False,
    message: str = "Weights, config and card, written by dvt",
) -> str:
    """Commit a model and its card to a repository, which is made if it does not exist.

    Args:
        repository: `owner/name`.
        state: the tensors by name; of a distilled ViT those of the timm model.
        info: what they are.
        private: whether a new repository is private; None leaves it to the owner's setting.
        token: None is the one that `hf auth login` keeps.
        revision: branch to commit to; None is the main branch.
        create_pr: open a pull request instead.
        message: of the commit.

    Returns:
        The address of the commit.

    Raises:
        WeightsError: the hub cannot be reached or refuses.
    """
    with tempfile.TemporaryDirectory() as temp:
        folder = Path(temp) / "model"
        save_model(folder, state, info, source=repository)
        try:
            api = HfApi(token=token)
            repo_id = api.create_repo(repository, private=private, exist_ok=True).repo_id
            commit = api.upload_folder(
                repo_id=repo_id,
                repo_type="model",
                folder_path=folder,
                commit_message=message,
                revision=revision,
                create_pr=create_pr,
            )
        except Exception as error:  # huggingface_hub raises errors of its HTTP library
            raise WeightsError(
                f"the model could not be sent to {repository} on the Hugging Face hub ({first_line(error)}). Check the"
                " connection, log in with `hf auth login` (or give token=...), and check that you may write there."
            ) from error
    return commit.commit_url


def _folder(
    repository: str,
    revision: str | None,
    token: str | bool | None,
    cache_dir: str | Path | None,
    local_files_only: bool,
) -> Path:
    if local_files_only:
        return _cached_folder(repository, revision, cache_dir)
    try:
        get_hf_file_metadata(hf_hub_url(repository, CONFIG_FILE, revision=revision), token=token)
    except (EntryNotFoundError, RepositoryNotFoundError, RevisionNotFoundError):  # the hub's answer
        raise
    except Exception as error:
        try:
            return _cached_folder(repository, revision, cache_dir)
        except LocalEntryNotFoundError:
            raise error from None
    config = hf_hub_download(repository, CONFIG_FILE, revision=revision, token=token, cache_dir=cache_dir)
    folder = Path(config).parent  # named after the commit
    hf_hub_download(repository, WEIGHTS_FILE, revision=folder.name, token=token, cache_dir=cache_dir)
    return folder


def _cached_folder(repository: str, revision: str | None, cache_dir: str | Path | None) -> Path:
    files = (CONFIG_FILE, WEIGHTS_FILE)
    cached = [try_to_load_from_cache(repository, file, revision=revision, cache_dir=cache_dir) for file in files]
    paths = [Path(path) for path in cached if isinstance(path, str)]
    if len(paths) < len(files):
        raise LocalEntryNotFoundError(f"{', '.join(files)} of {repository} are not all in the cache")
    return paths[0].parent
