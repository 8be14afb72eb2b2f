"""Pretrained: how a denoiser comes from published weights and goes there, as is usual on the Hugging Face hub.

huggingface_hub's own mixin is not used: it reads `config.json` as arguments of the constructor, and ours says more.
"""

from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor, nn

from dvt.denoiser.config import DenoiserConfig, Kind
from dvt.errors import ConfigError, WeightsError
from dvt.grid import PatchGrid
from dvt.weights.folder import read_model_folder, save_model
from dvt.weights.hub import fetch_model, push_model
from dvt.weights.info import ModelInfo
from dvt.weights.read import load_strict

_Self = TypeVar("_Self", bound="Pretrained")


class Pretrained(nn.Module):
    """The part of a denoiser that deals with published weights."""

    config: DenoiserConfig
    num_channels: int
    grid_hw: tuple[int, int]
    info: ModelInfo | None

    @classmethod
    def from_state(cls: type[_Self], state: Mapping[str, Tensor], info: ModelInfo, *, source: str) -> _Self:
        """Build a denoiser from the content of a model folder; in evaluation mode, on the CPU.

        Args:
            state: its tensors.
            info: what they are.
            source: where they come from, for the error.

        Raises:
            WeightsError: the tensors do not fit what `info` says, or this dvt does not know the architecture.
        """
        try:
            kind = Kind(info.architecture.get("kind", Kind.block))
            config = DenoiserConfig(**{**info.architecture, "kind": kind})
        except (TypeError, ValueError) as error:
            raise WeightsError(
                f"the architecture of {source} is not known to this dvt ({error}): upgrade dvt, or restore the file."
            ) from error
        denoiser = cls.from_tensors(state, config, info.spec.channels, info.spec.grid.hw, source=source)
        denoiser.info = info
        return denoiser

    @classmethod
    def from_tensors(
        cls: type[_Self],
        state: Mapping[str, Tensor],
        config: DenoiserConfig,
        num_channels: int,
        grid_hw: tuple[int, int],
        *,
        source: str,
    ) -> _Self:
        """Build a denoiser without a description; in evaluation mode, on the CPU.

        Args:
            state: its tensors.
            config: its architecture.
            num_channels: C.
            grid_hw: rows and columns of its position embedding.
            source: where the tensors come from, for the error.

        Raises:
            WeightsError: the tensors do not fit.
        """
        try:
            with torch.random.fork_rng(devices=[]):  # the first weights are overwritten
                denoiser = cls(config, num_channels, grid_hw)
        except ConfigError as error:
            raise WeightsError(
                f"the architecture of {source} is not known to this dvt ({error}): upgrade dvt, or restore the file."
            ) from error
        load_strict(denoiser, state, source=source)
        return denoiser.eval()

    @classmethod
    def from_pretrained(
        cls: type[_Self],
        source: str | Path,
        *,
        revision: str | None = None,
        token: str | bool | None = None,
        cache_dir: str | Path | None = None,
        local_files_only: bool = False,
    ) -> _Self:
        """Load what `save_pretrained` or `push_to_hub` wrote; `dvt.load_denoiser` also takes names and other files.

        Args:
            source: a folder, or `owner/name` on the Hugging Face hub.
            revision: branch, tag or commit on the hub.
            token: for repositories that are not public; None is the one that `hf auth login` keeps.
            cache_dir: another cache of the hub.
            local_files_only: do not ask the hub, take what is in the cache.

        Raises:
            WeightsError: no such folder or repository, damaged, or of another kind.
        """
        folder = Path(source).expanduser()
        if not folder.exists():
            folder = fetch_model(
                str(source), revision=revision, token=token, cache_dir=cache_dir, local_files_only=local_files_only
            )
        state, info = read_model_folder(folder, kind="denoiser")
        return cls.from_state(state, info, source=str(source))

    def save_pretrained(self, folder: str | Path) -> None:
        """Write `weights.safetensors`, `config.json` and a card; a `README.md` that is there already stays.

        Raises:
            WeightsError: it has no `info`, or `folder` is a file.
            DiskError: the disk is full or refuses.
        """
        save_model(folder, self.state_dict(), self._own_info())

    def push_to_hub(
        self,
        repository: str,
        *,
        private: bool | None = None,
        token: str | None = None,
        revision: str | None = None,
        create_pr: bool = False,
    ) -> str:
        """Send the same files to the Hugging Face hub; returns the address of the commit.

        Args:
            repository: `owner/name`; made where it is not there.
            private: whether a new repository is private; None leaves it to the owner's setting.
            token: None is the one that `hf auth login` keeps.
            revision: branch to commit to.
            create_pr: propose the commit instead.

        Raises:
            WeightsError: it has no `info`, or the hub cannot be reached or refuses.
        """
        return push_model(
            repository,
            self.state_dict(),
            self._own_info(),
            private=private,
            token=token,
            revision=revision,
            create_pr=create_pr,
        )

    def _own_info(self) -> ModelInfo:
        """`info`, with what the module itself says.

        Raises:
            WeightsError: there is none.
        """
        if self.info is None:
            raise WeightsError(
                "this denoiser does not say which backbone it belongs to. Set denoiser.info (a ModelInfo of"
                " dvt.weights.folder), or for a file of the original: dvt convert FILE FOLDER backbone=<name>."
            )
        grid = self.info.spec.grid
        if grid.hw != self.grid_hw:  # set_grid
            rows, columns = self.grid_hw
            sides = ((rows - 1) * grid.stride + grid.patch, (columns - 1) * grid.stride + grid.patch)
            grid = PatchGrid.of(sides, grid.patch, grid.stride)
        spec = replace(self.info.spec, channels=self.num_channels, grid=grid)
        return replace(self.info, kind="denoiser", architecture=asdict(self.config), spec=spec)
