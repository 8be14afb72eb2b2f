"""Receipts: what one cell of a leaderboard scored, how, on which data and weights, as a JSON file with its own hash."""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from dvt.errors import EvaluationError
from dvt.evaluation.result import MethodResult, TaskResult
from dvt.files import disk_errors, parse_json, plain, to_json, write_atomic
from dvt.leaderboard.spec import Board, TaskEntry, VitEntry

RECEIPTS: Final = "receipts"
"""Folder of the receipts, in that of the leaderboard."""
SCHEMA: Final = 1
"""Version of the JSON that this code writes; it reads no other."""
_KIND = "dvt leaderboard receipt"
_UNSAFE = re.compile(r"[^\w.@+-]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """One ViT, one method, one task."""

    backbone: dict[str, Any]
    """What the specification says about the ViT."""
    method: str
    """Name of the method."""
    task: dict[str, Any]
    """What the specification says about the task."""
    quality: str
    """Options of stage 1."""
    seed: int
    """Seed of the views."""
    data_sha256: str
    """Hash of all files of the data."""
    result: TaskResult
    """Protocol, metrics, and one row: scores, passes, seconds, fingerprint of the features, versions and machine."""

    @property
    def vit(self) -> str:
        """Label of the ViT."""
        return str(self.backbone["label"])

    @property
    def label(self) -> str:
        """Label of the task."""
        return str(self.task["label"])

    @property
    def cell(self) -> str:
        """Its name: ViT, task and method."""
        return cell_name(self.vit, self.label, self.method)

    @property
    def row(self) -> MethodResult:
        """What was scored."""
        return self.result.rows[self.method]

    @property
    def request(self) -> dict[str, Any]:
        """What was asked for, as `request_of` has it."""
        return _request(self.backbone, self.task, self.quality, self.seed, self.data_sha256)

    def to_json(self) -> str:
        """The text of the file; it ends with the hash of everything before."""
        body = self._body()
        return to_json({**body, "sha256": _digest(body)})

    def _body(self) -> dict[str, Any]:
        return {
            "kind": _KIND,
            "schema": SCHEMA,
            "cell": self.cell,
            "backbone": self.backbone,
            "method": self.method,
            "task": self.task,
            "quality": self.quality,
            "seed": self.seed,
            "data_sha256": self.data_sha256,
            "result": parse_json(self.result.to_json()),
        }


def cell_name(vit: str, task: str, method: str) -> str:
    """The name of a cell.

    Examples:
        >>> cell_name("vit_micro", "camvid", "raw@2x")
        'vit_micro/camvid/raw@2x'
    """
    return f"{vit}/{task}/{method}"


def receipt_path(cell: str) -> str:
    """The file of a cell, relative to the folder of the leaderboard, with slashes.

    Examples:
        >>> receipt_path("vit_micro/camvid/denoised:mine")
        'receipts/vit_micro/camvid/denoised-mine.json'
    """
    vit, task, method = cell.split("/")
    return f"{RECEIPTS}/{vit}/{task}/{_UNSAFE.sub('-', method)}.json"


def make_receipt(board: Board, vit: VitEntry, task: TaskEntry, method: str, data: str, result: TaskResult) -> Receipt:
    """The receipt of a method in the result of a task; `data` is the hash of the data."""
    alone = TaskResult(
        task=result.task,
        backbone=result.backbone,
        data=task.data,
        protocol=result.protocol,
        metrics=result.metrics,
        rows={method: result.rows[method]},
    )
    return Receipt(
        backbone=plain(vit.given),
        method=method,
        task=plain(task.given),
        quality=board.quality,
        seed=board.seed,
        data_sha256=data,
        result=TaskResult.from_json(alone.to_json(), source="this result"),  # as it will be read: seconds are rounded
    )


def request_of(board: Board, vit: VitEntry, task: TaskEntry, data: str) -> dict[str, Any]:
    """What is asked for: scores of one cell can be compared where it is the same. `data` is the hash of the data.

    Files of weights are left out: the fingerprint of the features has their hash.
    """
    return _request(plain(vit.given), plain(task.given), board.quality, board.seed, data)


def write_receipt(out: Path, receipt: Receipt) -> None:
    """Write a receipt; an earlier one of the cell is replaced.

    Raises:
        DiskError: it cannot be written.
    """
    path = out / receipt_path(receipt.cell)
    with disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, receipt.to_json().encode())


def read_receipts(out: Path) -> dict[str, Receipt]:
    """All receipts of a leaderboard, by cell, in the order of their names.

    Raises:
        EvaluationError: one was changed, is truncated, of another version, or lies in the place of another.
    """
    found = {}
    for path in sorted((out / RECEIPTS).glob("*/*/*.json")):
        receipt = _read(path)
        if out / receipt_path(receipt.cell) != path:
            raise EvaluationError(f"{path} is the receipt of {receipt.cell}, in the place of another. Move it back.")
        found[receipt.cell] = receipt
    return found


def file_hash(out: Path, cell: str) -> str:
    """Hex SHA-256 of the file of a receipt."""
    return hashlib.sha256((out / receipt_path(cell)).read_bytes()).hexdigest()


def _request(backbone: dict[str, Any], task: dict[str, Any], quality: str, seed: int, data: str) -> dict[str, Any]:
    vit = {name: value for name, value in backbone.items() if name not in ("weights", "denoiser", "distilled")}
    return {"backbone": vit, "task": task, "quality": quality, "seed": seed, "data_sha256": data}


def _read(path: Path) -> Receipt:
    try:
        body = parse_json(path.read_text(encoding="utf-8"))
        given = body.pop("sha256")
        if body["kind"] != _KIND or body["schema"] != SCHEMA:
            raise ValueError("another kind or version")
        if _digest(body) != given:
            raise ValueError("its content was changed after it was written")
        result = TaskResult.from_json(to_json(body["result"]), source=str(path))
        names = ("backbone", "method", "task", "quality", "seed", "data_sha256")
        receipt = Receipt(**{name: body[name] for name in names}, result=result)
        if list(result.rows) != [receipt.method] or receipt.cell != body["cell"]:
            raise ValueError("it is not about one method")
    except OSError as error:
        raise EvaluationError(f"{path} cannot be read: {error.strerror or error}.") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        reason = f"it has no {error}" if isinstance(error, KeyError) else str(error)
        raise EvaluationError(
            f"{path} is no valid receipt ({reason}). Restore the file; or delete it and its row, and run the"
            " leaderboard again to score this cell anew."
        ) from error
    return receipt


def _digest(body: Mapping[str, Any]) -> str:
    return hashlib.sha256(to_json(body, indent=None).encode()).hexdigest()
