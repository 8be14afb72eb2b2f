"""The Hugging Face hub: files from its cache or downloaded, folders sent to it. The errors are those of its client."""

from pathlib import Path

from huggingface_hub import HfApi, get_hf_file_metadata, hf_hub_download, hf_hub_url, try_to_load_from_cache
from huggingface_hub.errors import (
    EntryNotFoundError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)


def fetch_file(repository: str, files: tuple[str, ...]) -> Path:
    """The first of some files that a repository has; one that is in the cache is taken without a question.

    Raises:
        Exception: of the client; each of its versions raises the errors of another HTTP library.
    """
    assert files
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
        break
    return Path(hf_hub_download(repository, file))


def fetch_folder(
    repository: str,
    files: tuple[str, ...],
    *,
    revision: str | None = None,
    token: str | bool | None = None,
    cache_dir: str | Path | None = None,
    local_files_only: bool = False,
) -> Path:
    """A folder of the cache that holds files of a repository, all of one commit.

    The hub is asked for the newest; where it cannot be reached, what is in the cache is taken.

    Args:
        repository: `owner/name`.
        files: names in its top folder.
        revision: branch, tag or commit; None is the main branch.
        token: for repositories that are not public; None is the one that the client keeps.
        cache_dir: another cache.
        local_files_only: do not ask the hub.

    Raises:
        Exception: of the client; each of its versions raises the errors of another HTTP library.
    """
    if local_files_only:
        return _cached_folder(repository, files, revision, cache_dir)
    first, *others = files
    try:
        get_hf_file_metadata(hf_hub_url(repository, first, revision=revision), token=token)
    except (EntryNotFoundError, RepositoryNotFoundError, RevisionNotFoundError):  # the hub's answer
        raise
    except Exception as error:
        try:
            return _cached_folder(repository, files, revision, cache_dir)
        except LocalEntryNotFoundError:
            raise error from None
    folder = Path(hf_hub_download(repository, first, revision=revision, token=token, cache_dir=cache_dir)).parent
    for file in others:
        hf_hub_download(repository, file, revision=folder.name, token=token, cache_dir=cache_dir)
    return folder


def send_folder(
    folder: Path,
    repository: str,
    *,
    message: str,
    private: bool | None = None,
    token: str | None = None,
    revision: str | None = None,
    create_pr: bool = False,
) -> str:
    """Make the repository where it is not there, and commit all files of a folder to it; returns the commit's address.

    Args:
        folder: the files.
        repository: `owner/name`, or a name of your own.
        message: of the commit.
        private: whether a new repository is private; None leaves it to the owner's setting.
        token: None is the one that the client keeps.
        revision: branch to commit to; None is the main branch.
        create_pr: propose the commit instead.

    Raises:
        Exception: of the client; each of its versions raises the errors of another HTTP library.
    """
    api = HfApi(token=token)
    repository = api.create_repo(repository, private=private, exist_ok=True).repo_id
    commit = api.upload_folder(
        repo_id=repository,
        repo_type="model",
        folder_path=folder,
        commit_message=message,
        revision=revision,
        create_pr=create_pr,
    )
    return commit.commit_url


def reason_of(error: Exception) -> str:
    """The first line of what the client says."""
    return str(error).strip().partition("\n")[0] or type(error).__name__


def _cached_folder(repository: str, files: tuple[str, ...], revision: str | None, cache_dir: str | Path | None) -> Path:
    cached = [try_to_load_from_cache(repository, file, revision=revision, cache_dir=cache_dir) for file in files]
    paths = [Path(path) for path in cached if isinstance(path, str)]
    if len(paths) < len(files):
        raise LocalEntryNotFoundError(f"{', '.join(files)} of {repository} are not all in the cache")
    return paths[0].parent
