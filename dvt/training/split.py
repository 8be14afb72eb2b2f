"""Which images are learnt from and which are validated on: decided by their keys."""

from collections.abc import Sequence

from dvt.runtime import seed_for


def split_by_key(keys: Sequence[str], num_val: int) -> tuple[list[int], list[int]]:
    """Numbers of the images to learn from and of those to validate on, ascending; the keys decide which is which.

    Args:
        keys: of all images.
        num_val: how many are kept for validation.
    """
    places = [seed_for(0, f"validation {key}") for key in keys]
    drawn = sorted(range(len(keys)), key=places.__getitem__)
    return sorted(drawn[num_val:]), sorted(drawn[:num_val])
