"""Window: which pictures are in memory when a picture is drawn; a function of the seed and the draw alone."""

import torch

from dvt.runtime import seed_for


class Window:
    """The pictures of a list pass by, in a new order each pass; the last few are in memory, and one of them is drawn.

    Nothing is remembered from draw to draw, so that a resumed run sees what it would have seen.
    """

    def __init__(self, num_images: int, *, buffer: int, first: int, reuse: int, seed: int):
        """Prepare the window.

        Args:
            num_images: length of the list, at least 1.
            buffer: pictures in memory at most; a list that is not longer passes by once and stays.
            first: pictures in memory before the first draw.
            reuse: draws after which the next picture comes.
            seed: of the run.
        """
        self._num_images, self._buffer = num_images, min(buffer, num_images)
        self._first, self._reuse, self._seed = min(first, self._buffer), reuse, seed
        self._orders: dict[int, list[int]] = {}
        self._come = 0
        self._images: tuple[int, ...] = ()

    def images(self, number: int) -> tuple[int, ...]:
        """The pictures in memory at a draw, the oldest first.

        Args:
            number: how many draws there were before.
        """
        come = self._first + number // self._reuse
        if self._buffer == self._num_images:
            come = min(come, self._num_images)
        if come != self._come:
            self._come, self._images = come, tuple(map(self._image, range(max(0, come - self._buffer), come)))
        return self._images

    def drawn(self, number: int) -> int:
        """Which of them is drawn: its place in `images`."""
        rng = torch.Generator().manual_seed(seed_for(self._seed, f"place of draw {number}"))
        return int(torch.randint(len(self.images(number)), (), generator=rng))

    def _image(self, place: int) -> int:
        at_pass, place = divmod(place, self._num_images)
        if at_pass not in self._orders:
            rng = torch.Generator().manual_seed(seed_for(self._seed, f"stream, pass {at_pass}"))
            self._orders = {each: order for each, order in self._orders.items() if each == at_pass - 1}
            self._orders[at_pass] = torch.randperm(self._num_images, generator=rng).tolist()
        return self._orders[at_pass][place]
