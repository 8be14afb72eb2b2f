"""NYU Depth v2: images and depths named by two lists (Silberman et al. 2012)."""

from pathlib import Path

from dvt.errors import EvaluationError
from dvt.evaluation.datasets.samples import SampleFiles

_LISTS = {
    "train": ("nyu_train.txt", "nyudepthv2_train_files_with_gt.txt"),
    "test": ("nyu_test.txt", "nyudepthv2_test_files_with_gt.txt"),
}
_FOLDERS = {"train": (".", "train", "sync"), "test": (".", "test", "official_splits/test")}


def find_nyuv2(data: Path) -> tuple[list[SampleFiles], list[SampleFiles]]:
    """Training and test images of the folder `data`.

    A line of a list is `image depth [focal length]`; a leading slash is dropped. Paths start at the data root, or
    at train/ or sync/ (training), test/ or official_splits/test/ (testing) below it, whichever holds the first line.

    Raises:
        EvaluationError: a list or a file is missing.
    """
    return _find(data, "train"), _find(data, "test")


def _find(data: Path, split: str) -> list[SampleFiles]:
    path = next((data / name for name in _LISTS[split] if (data / name).is_file()), None)
    if path is None:
        raise EvaluationError(
            f"{data} holds no NYUv2: looked for {' or '.join(_LISTS[split])}, with lines like"
            " /kitchen_0028b/rgb_00045.jpg /kitchen_0028b/sync_depth_00045.png 518.8579."
        )
    pairs = _pairs(path)
    folders = [data / folder for folder in _FOLDERS[split]]
    root = next((folder for folder in folders if (folder / pairs[0][0]).is_file()), None)
    if root is None:
        raise EvaluationError(
            f"{path} begins with {pairs[0][0]}, which is in none of {', '.join(str(folder) for folder in folders)}."
        )
    missing = [name for pair in pairs for name in pair if not (root / name).is_file()]
    if missing:
        raise EvaluationError(
            f"{len(missing)} of the {2 * len(pairs)} files that {path} names are missing in {root}"
            f" (first: {missing[0]}). Unpack all of it, or remove the lines from the list."
        )
    return [SampleFiles(image, root / image, root / depth) for image, depth in pairs]


def _pairs(path: Path) -> list[tuple[str, str]]:
    pairs = []
    for number, line in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), start=1):
        names = [name.lstrip("/") for name in line.split()]
        if not names:
            continue
        if len(names) not in (2, 3):
            raise EvaluationError(f"{path}, line {number}: {line!r}. Expected an image, its depth and a focal length.")
        pairs.append((names[0], names[1]))
    if not pairs:
        raise EvaluationError(f"{path} is empty. Expected an image, its depth and a focal length on every line.")
    return pairs
