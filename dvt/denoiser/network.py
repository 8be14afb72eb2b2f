"""Denoiser: raw features -> clean features of any image (paper s. 4.3), with loading and saving of its weights."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import torch
from timm.layers.pos_embed import resample_abs_pos_embed
from torch import Tensor, nn
from torch.nn import functional

from dvt.denoiser.config import ALL, DenoiserConfig, Kind, Mixing
from dvt.denoiser.kinds import make_network
from dvt.errors import ConfigError, WeightsError, first_line
from dvt.grid import PatchGrid
from dvt.paths import expand_home
from dvt.shapes import CellMaps, DenoiserInput, FeatureMaps, FinerMaps
from dvt.torch_state import own_torch_state
from dvt.weights.folder import read_model_folder, save_model
from dvt.weights.hub import fetch_model, push_model
from dvt.weights.info import ModelInfo
from dvt.weights.read import load_strict, refuse_misfit


class Denoiser(nn.Module):
    """A learnable position embedding and one transformer block; no residual around it, no norm after it.

    Other kinds have convolutions, modules of semantic tokens or a single linear layer instead (`config.kind`,
    `kinds.py`). Of the kind `affine`, the position embedding is added behind the linear layer. One of the kind
    `registers` changes the forward pass of the ViT (`DenoisedBackbone`) and nothing behind it: it holds `neurons`.

    With `config.layers` the input also has the patches of earlier blocks of the ViT, behind the raw ones. They are
    normed and mixed with the raw ones before the block, as `config.mixing` says.

    With `config.fine` above 1 the output has `fine` x `fine` cells for every patch: a linear layer behind the block
    gives their features, and starts as a copy of those of the patch.

    The tensors have the names of the authors' released weights: `pos_embed`, `denoiser.norm1.weight` and so on. Several
    blocks, and the layers of a convolutional denoiser, are numbered: `denoiser.0.norm1.weight`.

    `from_pretrained`, `save_pretrained` and `push_to_hub` work as on the Hugging Face hub. (The mixin of
    huggingface_hub takes `config.json` for arguments of the constructor; ours says more.)

    Attributes:
        config: the architecture.
        num_channels: C.
        grid_hw: rows and columns of the patch grid of the position embedding.
        neurons: (K, 2) block and index of the neurons of a denoiser of the kind `registers`; else None.
        info: what it was trained on and for; None: untrained, or unknown.

    Examples:
        >>> import torch
        >>> from dvt.denoiser.config import DenoiserConfig
        >>> denoiser = Denoiser(DenoiserConfig(head_channels=32), num_channels=64, grid_hw=(4, 4))
        >>> denoiser(torch.zeros(2, 4, 6, 64)).shape
        torch.Size([2, 4, 6, 64])
    """

    pos_embed: nn.Parameter | None
    neurons: Tensor | None

    def __init__(self, config: DenoiserConfig, num_channels: int, grid_hw: tuple[int, int], num_neurons: int = 0):
        """Build an untrained denoiser.

        Args:
            config: the architecture.
            num_channels: C of the features.
            grid_hw: rows and columns of patches in training; on other grids the position embedding is resampled.
            num_neurons: K, of the kind `registers`.

        Raises:
            ConfigError: C is no multiple of the channels of a head, or the blocks of `layers=all` are not known.
        """
        super().__init__()
        if config.layers == ALL:
            raise ConfigError("denoiser.layers=all: give the list, as config.for_layers(backbone.layers) does.")
        self.config, self.num_channels, self.grid_hw = config, num_channels, grid_hw
        self.info: ModelInfo | None = None
        embeds = config.kind is Kind.affine or (config.in_a_row and config.position_embedding)
        rows, columns = grid_hw
        self.mixing = _mixing(config, num_channels)
        self.pos_embed = nn.Parameter(0.02 * torch.randn(1, rows * columns, num_channels)) if embeds else None
        self.denoiser = make_network(config, num_channels)
        is_registers = config.kind is Kind.registers
        self.register_buffer("neurons", torch.zeros(num_neurons, 2, dtype=torch.int64) if is_registers else None)
        refines = config.fine > 1 and not config.is_linear
        self.refine = _refinement(num_channels, config.fine) if refines else None

    def forward(self, patches: DenoiserInput) -> FinerMaps:
        """Raw features to clean ones, on any grid.

        Args:
            patches: (B, H, W, C) raw features; with L `config.layers` (B, H, W, (1 + L) C), those of the earlier blocks
                behind the raw ones.

        Returns:
            (B, H, W, C); with `config.fine` r above 1 (B, r H, r W, C).
        """
        if self.mixing is not None:
            patches = self.mixing(patches)
        cleaned = self._clean(patches)
        if self.refine is not None:
            cleaned = self.refine(cleaned)
        return cells_to_map(cleaned, self.config.fine)

    @property
    def linear_mixing(self) -> "LinearMixing":
        """The linear map that a linear denoiser is."""
        assert isinstance(self.mixing, LinearMixing), self.config
        return self.mixing

    def _clean(self, patches: FeatureMaps) -> FeatureMaps:
        """What follows the mixing, at the patches; a linear denoiser is its mixing, and registers are in the ViT."""
        if self.config.kind in (Kind.linear, Kind.registers):
            return patches
        if self.config.kind is Kind.affine:
            return patches + self._embedding_at((patches.shape[1], patches.shape[2])).reshape(patches.shape[1:])
        if not self.config.in_a_row:
            cleaned: Tensor = self.denoiser(patches.permute(0, 3, 1, 2))
            return cleaned.permute(0, 2, 3, 1)
        tokens = patches.flatten(1, 2)
        if self.pos_embed is not None:
            tokens = tokens + self._embedding_at((patches.shape[1], patches.shape[2]))
        cleaned = self.denoiser(tokens)
        return cleaned.reshape(patches.shape)

    def set_grid(self, grid_hw: tuple[int, int]) -> None:
        """Move to another patch grid for good: the position embedding is resampled once instead of at every call."""
        if self.pos_embed is not None:
            self.pos_embed = nn.Parameter(self._embedding_at(grid_hw).detach(), self.pos_embed.requires_grad)
        self.grid_hw = grid_hw

    def _embedding_at(self, grid_hw: tuple[int, int]) -> Tensor:
        """(1, H W, C) position embedding of a grid: bicubic, antialiased, as timm does for ViTs."""
        assert self.pos_embed is not None
        if grid_hw == self.grid_hw:
            return self.pos_embed
        resampled: Tensor = resample_abs_pos_embed(
            self.pos_embed, new_size=list(grid_hw), old_size=list(self.grid_hw), num_prefix_tokens=0
        )
        return resampled

    @classmethod
    def from_state(cls, state: Mapping[str, Tensor], info: ModelInfo, *, source: str) -> "Denoiser":
        """Build a denoiser from the content of a model folder; in evaluation mode, on the CPU.

        Args:
            state: its tensors.
            info: its description.
            source: where they come from, for the error.

        Raises:
            WeightsError: the tensors do not fit `info`, or this dvt does not know the architecture.
        """
        try:
            config = DenoiserConfig.from_plain(info.architecture)
        except (TypeError, ValueError) as error:
            raise WeightsError(
                f"the architecture of {source} is not known to this dvt ({error}): upgrade dvt, or restore the file."
            ) from error
        denoiser = cls.from_tensors(state, config, info.spec.channels, info.spec.grid.hw, source=source)
        denoiser.info = info
        return denoiser

    @classmethod
    def from_tensors(
        cls,
        state: Mapping[str, Tensor],
        config: DenoiserConfig,
        num_channels: int,
        grid_hw: tuple[int, int],
        *,
        source: str,
    ) -> "Denoiser":
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
            if config.num_blocks > len(state):
                raise ConfigError(f"num_blocks is {config.num_blocks}, and the file holds {len(state)} tensors")
            num_neurons = len(state["neurons"]) if "neurons" in state else 0
            with torch.device("meta"):  # sizes are compared before memory is taken for them
                sizes = cls(config, num_channels, grid_hw, num_neurons).state_dict()
        except (ConfigError, RuntimeError, OverflowError, TypeError, ValueError) as error:
            raise WeightsError(
                f"the architecture of {source} is not known to this dvt ({first_line(error)}): upgrade dvt, or restore"
                " the file."
            ) from error
        refuse_misfit(state, sizes, source=source, model=cls.__name__)
        with torch.random.fork_rng(devices=[]):  # the first weights are overwritten
            denoiser = cls(config, num_channels, grid_hw, num_neurons)
        load_strict(denoiser, state, source=source)
        return denoiser.eval()

    @classmethod
    @own_torch_state()
    def from_pretrained(
        cls,
        source: str | Path,
        *,
        revision: str | None = None,
        token: str | bool | None = None,
        cache_dir: str | Path | None = None,
        local_files_only: bool = False,
    ) -> "Denoiser":
        """Load what `save_pretrained` or `push_to_hub` wrote; `dvt.load_denoiser` also takes names and other files.

        Args:
            source: a folder, or `owner/name` on the Hugging Face hub.
            revision: branch, tag or commit on the hub.
            token: for private repositories; None: the one that `hf auth login` stored.
            cache_dir: another cache of the hub.
            local_files_only: use the cache and do not ask the hub.

        Raises:
            WeightsError: no such folder or repository, damaged, or of another kind.
        """
        folder = expand_home(source)
        if not folder.exists():
            folder = fetch_model(
                str(source), revision=revision, token=token, cache_dir=cache_dir, local_files_only=local_files_only
            )
        state, info = read_model_folder(folder, kind="denoiser")
        return cls.from_state(state, info, source=str(source))

    def save_pretrained(self, folder: str | Path) -> None:
        """Write `weights.safetensors`, `config.json` and a card; an existing `README.md` stays.

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
            repository: `owner/name`; created if missing.
            private: whether a new repository is private; None: the owner's setting.
            token: None: the one that `hf auth login` stored.
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
        """`info`, updated with the module's own architecture, channels and grid.

        Raises:
            WeightsError: there is none, or it is that of a ViT with its denoiser.
        """
        if self.info is None:
            raise WeightsError(
                "this denoiser does not say which backbone it belongs to. Set denoiser.info (a ModelInfo of"
                " dvt.weights.info), or for a file of the original: dvt convert FILE FOLDER backbone=<name>."
            )
        if self.info.kind == "denoised":
            raise WeightsError(
                f"this denoiser was trained together with its {self.info.spec.backbone} and cleans the features of that"
                " one alone: keep or send the folder that holds both."
            )
        grid = self.info.spec.grid
        if grid.hw != self.grid_hw:  # set_grid
            rows, columns = self.grid_hw
            sides = ((rows - 1) * grid.stride + grid.patch, (columns - 1) * grid.stride + grid.patch)
            grid = PatchGrid.of(sides, grid.patch, grid.stride)
        spec = replace(self.info.spec, channels=self.num_channels, grid=grid)
        return replace(self.info, kind="denoiser", architecture=self.config.to_plain(), spec=spec)


class _ResidualMixing(nn.Module):
    """Adds a linear map of the normed features of earlier blocks to the raw features; it starts at zero."""

    def __init__(self, num_layers: int, num_channels: int):
        super().__init__()
        self.norms = nn.ModuleList(nn.LayerNorm(num_channels, eps=1e-6) for _ in range(num_layers))
        self.linear = nn.Linear(num_layers * num_channels, num_channels)
        nn.init.zeros_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)

    def forward(self, patches: DenoiserInput) -> FeatureMaps:
        """(B, H, W, (1 + L) C) to (B, H, W, C)."""
        raw, *earlier = patches.chunk(1 + len(self.norms), dim=-1)
        normed = [norm(each) for norm, each in zip(self.norms, earlier, strict=True)]
        mixed: Tensor = raw + self.linear(torch.cat(normed, dim=-1))
        return mixed


class LinearMixing(nn.Module):
    """A linear map of the raw features, as they are, and the normed features of earlier blocks together.

    Attributes:
        linear: the map, (1 + L) C inputs to C, or to those of every cell.
    """

    def __init__(self, num_layers: int, num_channels: int, num_cells: int = 1):
        super().__init__()
        self.num_channels = num_channels
        self.linear = nn.Linear((1 + num_layers) * num_channels, num_cells * num_channels)

    def inputs(self, patches: DenoiserInput) -> DenoiserInput:
        """What the map is applied to: (B, H, W, (1 + L) C), those of the earlier blocks normed."""
        raw, *earlier = torch.split(patches, self.num_channels, dim=-1)
        normed = [functional.layer_norm(each, (self.num_channels,), eps=1e-6) for each in earlier]
        return torch.cat([raw, *normed], dim=-1)

    def forward(self, patches: DenoiserInput) -> FeatureMaps:
        """(B, H, W, (1 + L) C) to (B, H, W, C), or to the C channels of every cell."""
        mixed: Tensor = self.linear(self.inputs(patches))
        return mixed

    @torch.no_grad()
    def fill(self, weight: Tensor, bias: Tensor) -> None:
        """Give the map its weights, of any number format and device."""
        self.linear.weight.copy_(weight)
        self.linear.bias.copy_(bias)


def _mixing(config: DenoiserConfig, num_channels: int) -> "_ResidualMixing | LinearMixing | None":
    num_layers = len(config.layers)
    if config.is_linear:
        return LinearMixing(num_layers, num_channels, num_cells=config.fine**2)
    if num_layers and config.mixing is Mixing.linear:
        return LinearMixing(num_layers, num_channels)
    return _ResidualMixing(num_layers, num_channels) if num_layers else None


def _refinement(num_channels: int, fine: int) -> nn.Linear:
    """C channels of a patch to those of its cells; it starts as a copy."""
    linear = nn.Linear(num_channels, fine**2 * num_channels)
    with torch.no_grad():
        linear.weight.copy_(torch.eye(num_channels).repeat(fine**2, 1))
        linear.bias.zero_()
    return linear


def cells_to_map(cells: CellMaps, fine: int) -> FinerMaps:
    """The features of the cells of every patch as one finer map: (B, H, W, r r C) to (B, r H, r W, C).

    Args:
        cells: r x r cells of every patch, rows from the top, columns from the left, C channels each.
        fine: r.

    Examples:
        >>> import torch
        >>> cells_to_map(torch.arange(8.0).reshape(1, 1, 2, 4), 2)[0, :, :, 0]
        tensor([[0., 1., 4., 5.],
                [2., 3., 6., 7.]])
    """
    batch, rows, columns, numbers = cells.shape
    split = cells.reshape(batch, rows, columns, fine, fine, numbers // fine**2)
    return split.permute(0, 1, 3, 2, 4, 5).reshape(batch, rows * fine, columns * fine, numbers // fine**2)


def map_to_cells(finer: FinerMaps, fine: int) -> CellMaps:
    """The inverse of `cells_to_map`: (B, r H, r W, C) to (B, H, W, r r C)."""
    batch, rows, columns, channels = finer.shape
    split = finer.reshape(batch, rows // fine, fine, columns // fine, fine, channels)
    return split.permute(0, 1, 3, 2, 4, 5).flatten(3)
