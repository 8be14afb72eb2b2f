"""verify_cell: score one cell of a leaderboard again, drawn at random, and compare with its row."""

import math
import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from dvt.errors import ConfigError, EvaluationError
from dvt.evaluation.result import TaskResult
from dvt.evaluation.run import evaluate
from dvt.evaluation.tasks import make_task
from dvt.files import parse_json, plain
from dvt.leaderboard.cells import WORK, Loader
from dvt.leaderboard.data_hash import hash_of_data
from dvt.leaderboard.receipts import Receipt, read_receipts
from dvt.leaderboard.run import KNOWN, PATHS
from dvt.leaderboard.spec import parse_board
from dvt.leaderboard.table import check_rows
from dvt.methods.method import fingerprint
from dvt.numbers import takes_numbers
from dvt.progress import SILENT, Reporter
from dvt.settings import differences
from dvt.torch_state import own_torch_state


@dataclass(frozen=True, slots=True, kw_only=True)
class Verification:
    """One cell, scored again."""

    receipt: Receipt
    """Its receipt."""
    again: TaskResult
    """The new result; one row."""
    largest: float
    """Largest difference of a value, as a share of the value in the receipt; infinite where one of them is missing."""
    worst: str
    """The metric with that difference."""
    versions: tuple[str, ...]
    """A line for every version or machine that is another one than at the time."""


@takes_numbers
@own_torch_state()
def verify_cell(
    out: str | Path,
    load: Loader,
    *,
    data: str | Path | None = None,
    cell: str | None = None,
    seed: int = 0,
    choose: Callable[[str], None] = lambda cell: None,
    reporter: Reporter = SILENT,
) -> Verification:
    """Check all rows against their receipts, then score one cell again. Nothing is written.

    Args:
        out: folder of the leaderboard.
        load: loads a ViT with its methods.
        data: what `${data}` stands for; None: the folder of the last run on this machine.
        cell: which one; None: drawn at random.
        seed: seed of the draw.
        choose: receives the name of the cell before the work.
        reporter: shows the progress.

    Raises:
        ConfigError: no rows, no such cell, or `data` is needed.
        EvaluationError: a row does not match its receipt; the data or the features are not those of the receipt.
        DvtError: the cell cannot be scored.
    """
    out = Path(out)
    receipts = read_receipts(out)
    rows = check_rows(out, receipts)
    if not rows:
        raise ConfigError(f"out={out} holds no rows of a leaderboard: run dvt leaderboard spec=... out={out} first.")
    names = sorted(row.cell for row in rows)
    if cell is not None and cell not in names:
        raise ConfigError(f"cell={cell}: there is no such row. The first are {', '.join(names[:3])}.")
    chosen = random.Random(seed).choice(names) if cell is None else cell
    choose(chosen)
    receipt = receipts[chosen]
    body = {
        "backbones": [{**receipt.backbone, "methods": [receipt.method]}],
        "tasks": [receipt.task],
        "quality": receipt.quality,
        "seed": receipt.seed,
    }
    board = parse_board(body, f"the receipt of {chosen}", _data_of(out) if data is None else data)
    (vit,), (entry,) = board.vits, board.tasks
    task = make_task(entry.name, entry.config, entry.folder)
    known = out / WORK / KNOWN
    known_here = known if known.parent.is_dir() else None  # not in a fresh clone
    found = {"data_sha256": hash_of_data(entry.folder, known_here), "protocol": plain(task.protocol)}
    backbone, (method,) = load(board, vit)
    found["features"] = plain(fingerprint(method))
    before = {name: value for name, value in receipt.row.fingerprint.items() if name != "dvt"}
    before = {"data_sha256": receipt.data_sha256, "protocol": receipt.result.protocol, "features": before}
    if lines := differences(before, found, "receipt", "run"):
        text = "".join(f"\n  {line}" for line in lines)
        raise EvaluationError(f"{chosen} cannot be scored again, as not the same is given:{text}")
    again = evaluate(task, [method], entry.data, backbone=backbone.full_name, device=backbone.device, reporter=reporter)
    largest, worst = _largest(receipt, again)
    versions = differences(receipt.row.environment, again.rows[method.name].environment, "receipt", "run")
    return Verification(receipt=receipt, again=again, largest=largest, worst=worst, versions=tuple(versions))


def _largest(receipt: Receipt, again: TaskResult) -> tuple[float, str]:
    """The largest difference of a value as a share of it, and its metric."""
    (row,) = again.rows.values()
    found = (0.0, receipt.result.metrics[0].name)
    for name, values in receipt.row.scores.values.items():
        new = row.scores.values.get(name, ())
        if len(new) != len(values):
            return math.inf, name
        for mine, other in zip(values, new, strict=True):
            found = max(found, (_difference(mine, other), name), key=lambda each: each[0])
    return found


def _difference(before: float, after: float) -> float:
    if math.isnan(before) or math.isnan(after):
        return 0.0 if math.isnan(before) and math.isnan(after) else math.inf
    if before == after:
        return 0.0
    return abs(after - before) / abs(before) if before else math.inf


def _data_of(out: Path) -> str | None:
    try:
        found = parse_json((out / WORK / PATHS).read_bytes())
    except (OSError, ValueError):
        return None
    return str(found["data"]) if isinstance(found, dict) and "data" in found else None
