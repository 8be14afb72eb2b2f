"""Publishing: a model with its card, into a folder or onto the Hugging Face hub."""

import tempfile
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from dvt.errors import WeightsError
from dvt.files import write_atomic
from dvt.weights.card import model_card
from dvt.weights.folder import WEIGHTS_FILE, is_model_folder, read_model_info, write_model_folder
from dvt.weights.hf_hub import fetch_folder, reason_of, send_folder
from dvt.weights.info import CONFIG_FILE, ModelInfo

CARD_FILE = "README.md"
"""The card."""


def save_model(folder: str | Path, state: Mapping[str, Tensor], info: ModelInfo, *, source: str | None = None) -> None:
    """Write a model and its card. A `README.md` that somebody else wrote, or edited, stays as it is.

    Args:
        folder: where to; made with its parents where it is not there.
        state: the tensors by name; of a distilled ViT those of the timm model.
        info: what they are.
        source: where the card says that the model lies; the name of the folder when left out.

    Raises:
        WeightsError: there is no tensor to write, or `folder` is a file.
        DiskError: the disk is full or refuses.
    """
    folder = Path(folder).expanduser()
    card, ours = model_card(info, source or folder.resolve().name), _card_is_ours(folder, source)
    write_model_folder(folder, state, info)
    if ours:
        write_atomic(folder / CARD_FILE, card.encode())


def _card_is_ours(folder: Path, source: str | None) -> bool:
    """Whether the card of the folder may be replaced: there is none, or it is what was written for the model there."""
    card = folder / CARD_FILE
    if not card.exists():
        return True
    if not is_model_folder(folder):
        return False
    try:
        return card.read_text(encoding="utf-8") == model_card(read_model_info(folder), source or folder.resolve().name)
    except (OSError, ValueError):  # a folder that cannot be read is replaced, a card that cannot is left
        return False


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
    """Send a model and its card to the Hugging Face hub; the repository is made where it is not there.

    Args:
        repository: `owner/name`.
        state: the tensors by name; of a distilled ViT those of the timm model.
        info: what they are.
        private: whether a new repository is private; None leaves it to the owner's setting.
        token: None is the one that `hf auth login` keeps.
        revision: branch to commit to; None is the main branch.
        create_pr: propose the commit instead.
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
            return send_folder(
                folder,
                repository,
                message=message,
                private=private,
                token=token,
                revision=revision,
                create_pr=create_pr,
            )
        except Exception as error:  # each huggingface_hub raises the errors of another HTTP library
            raise WeightsError(
                f"the model could not be sent to {repository} on the Hugging Face hub ({reason_of(error)}). Check the"
                " connection, log in with `hf auth login` (or give token=...), and see that you may write there."
            ) from error


def fetch_model(
    repository: str,
    *,
    revision: str | None = None,
    token: str | bool | None = None,
    cache_dir: str | Path | None = None,
    local_files_only: bool = False,
) -> Path:
    """The folder of a model on the Hugging Face hub, in its cache: the newest where the hub can be asked.

    Args:
        repository: `owner/name`.
        revision: branch, tag or commit; None is the main branch.
        token: for repositories that are not public; None is the one that `hf auth login` keeps.
        cache_dir: another cache.
        local_files_only: take what is in the cache.

    Raises:
        WeightsError: there is no such model, or the hub cannot be reached and it is not in the cache.
    """
    try:
        return fetch_folder(
            repository,
            (CONFIG_FILE, WEIGHTS_FILE),
            revision=revision,
            token=token,
            cache_dir=cache_dir,
            local_files_only=local_files_only,
        )
    except Exception as error:  # each huggingface_hub raises the errors of another HTTP library
        raise WeightsError(
            f"the model {repository} could not be fetched: {CONFIG_FILE} and {WEIGHTS_FILE} of {repository} on the"
            f" Hugging Face hub ({reason_of(error)}). Check the name and the connection and try again, or download"
            f" both files elsewhere into one folder and give that folder."
        ) from error
