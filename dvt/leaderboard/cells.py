"""The cells of a leaderboard: the methods of one ViT in one task, scored by `dvt.evaluate`; receipts are kept."""

import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from dvt.backbone.backbone import Backbone
from dvt.errors import DvtError, EvaluationError
from dvt.evaluation.result import TaskResult
from dvt.evaluation.run import evaluate
from dvt.evaluation.task import Task
from dvt.files import DiskError, plain
from dvt.leaderboard.receipts import Receipt, cell_name, receipt_path, request_of
from dvt.leaderboard.spec import Board, TaskEntry, VitEntry
from dvt.methods.method import Method, fingerprint
from dvt.progress import Reporter
from dvt.settings import differences

WORK: Final = "work"
"""Folder of what belongs to this machine: results of `dvt.evaluate`, paths. Not for a repository."""

Loader = Callable[[Board, VitEntry], tuple[Backbone, list[Method]]]
"""Loads a ViT and its methods, in the order of its entry."""


def require_same_request(out: Path, board: Board, hashes: Mapping[str, str], receipts: Mapping[str, Receipt]) -> None:
    """Refuse a specification or data other than those of rows that are there: they could not be compared.

    Args:
        out: folder of the leaderboard.
        board: what is asked for.
        hashes: hash of the data of every task, by its label.
        receipts: those that are there, by cell.

    Raises:
        EvaluationError: names the receipt and what differs.
    """
    for vit in board.vits:
        for task in board.tasks:
            asked = request_of(board, vit, task, hashes[task.label])
            for method in vit.methods:
                receipt = receipts.get(cell_name(vit.label, task.label, method))
                if receipt is not None and (found := differences(receipt.request, asked, "receipt", "request")):
                    lines = "".join(f"\n  {line}" for line in found)
                    raise EvaluationError(
                        f"{receipt.cell} was scored on other data or with another specification:{lines}\nGive another"
                        f" out=, another label, or delete {out / receipt_path(receipt.cell)} and its row."
                    )


def same_features(method: Method, receipt: Receipt | None) -> bool:
    """Whether a receipt is about the features that a method makes; by which version of dvt does not matter."""
    if receipt is None:
        return False
    found = {name: value for name, value in receipt.row.fingerprint.items() if name != "dvt"}
    return bool(found == plain(fingerprint(method)))


def score_cells(
    task: Task,
    entry: TaskEntry,
    backbone: Backbone,
    methods: Sequence[Method],
    folder: Path,
    reporter: Reporter,
) -> tuple[TaskResult | None, dict[str, str]]:
    """Score methods in a task. A method that fails does not stop the others.

    Args:
        task: the task, with its data.
        entry: what the specification says about it.
        backbone: the ViT.
        methods: at least one.
        folder: where `dvt.evaluate` keeps its results, so that a stopped run continues.
        reporter: shows the progress.

    Returns:
        The result, None if all failed; and why methods failed, by name.

    Raises:
        DiskError: the disk is full or refuses.
    """

    def score(some: Sequence[Method]) -> TaskResult:
        about: dict[str, Any] = {"backbone": backbone.full_name, "device": backbone.device, "reporter": reporter}
        return evaluate(task, list(some), entry.data, out=folder, **about)

    failed: dict[str, str] = {}
    result: TaskResult | None = None
    try:
        result = score(methods)  # together: methods of stage 1 share what they compute
    except DiskError:
        raise
    except DvtError:
        for method in methods:
            try:
                alone = score([method])
            except DiskError:
                raise
            except DvtError as error:
                failed[method.name] = str(error)
            else:
                result = alone if result is None else result.with_row(method.name, alone.rows[method.name])
    if not failed:
        shutil.rmtree(folder / "features", ignore_errors=True)
    return result, failed
