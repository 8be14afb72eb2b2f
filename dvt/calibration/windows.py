"""Images as windows, batch by batch."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from dvt.calibration.config import CalibrationConfig
from dvt.diagnosis.windows import cut_windows
from dvt.grid import PatchGrid
from dvt.images import ImageFile, read_image
from dvt.images.resize import resize
from dvt.progress import Reporter
from dvt.runtime import seed_for
from dvt.shapes import ImageBatch


@dataclass(frozen=True, slots=True)
class Windows:
    """Reads images as windows of one size."""

    grid: PatchGrid
    """Patches of a window."""
    config: CalibrationConfig
    """Windows of an image, batch size and seed."""
    max_pixels: int
    """Larger images are refused."""
    reporter: Reporter
    """Shows every image."""

    def of_each(self, files: Sequence[ImageFile]) -> Iterator[tuple[ImageBatch, ...]]:
        """The windows of every image, in batches."""
        self.reporter.start(len(files), "images", "windows")
        for file in files:
            image = read_image(file.path, max_pixels=self.max_pixels)
            windows: list[Tensor] = []
            for number in range(self.config.windows // 2):
                pair = cut_windows(image, self.grid, 2 * number, seed_for(self.config.seed, f"{file.key} {number}"))
                windows += [resize(window, self.grid.image_hw) for window in (pair.first, pair.second)]
            yield torch.split(torch.stack(windows), self.config.batch_size)
            self.reporter.advance()
