"""Which images are learnt from and which are validated on: decided by their keys."""

from collections.abc import Sequence

from dvt.runtime import seed_for


def split_by_share(keys: Sequence[str], share: float, most: int | None = None) -> tuple[list[int], list[int]]:
    """As `split_by_key`, with a share of the images kept for validation: one at least, and one to learn from.

    Args:
        keys: of all images, two at least.
        share: of them to keep.
        most: how many to keep at most.
    """
    num_val = max(1, round(share * len(keys)))
    return split_by_key(keys, min(num_val, len(keys) - 1, len(keys) if most is None else most))


def split_by_key(keys: Sequence[str], num_val: int) -> tuple[list[int], list[int]]:
    """Numbers of the images to learn from and of those to validate on, ascending; the keys decide which is which.

    Args:
        keys: of all images.
        num_val: how many are kept for validation.
    """
    places = [seed_for(0, f"validation {key}") for key in keys]
    drawn = sorted(range(len(keys)), key=places.__getitem__)
    return sorted(drawn[num_val:]), sorted(drawn[:num_val])
