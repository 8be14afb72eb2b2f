"""The rows of a leaderboard: a line per cell, made from the receipts, as CSV and as Parquet with the same content."""

import csv
import io
import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from types import NoneType
from typing import Any, Final, get_args, get_type_hints

from dvt.errors import ConfigError, EvaluationError
from dvt.files import write_atomic
from dvt.leaderboard.receipts import Receipt, file_hash, receipt_path
from dvt.settings import differences

CSV: Final = "rows.csv"
PARQUET: Final = "rows.parquet"
_WAY_OUT = "Restore the file, or delete the row in it and the receipt, and run the leaderboard again."


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One ViT, one method, one task."""

    cell: str
    """ViT, task and method."""
    backbone: str
    """Label of the ViT."""
    vit: str
    """Its name with the tag of its weights."""
    method: str
    """Name of the method."""
    task: str
    """Label of the task."""
    kind: str
    """Which task it is."""
    data: str
    """Folder of the data, as in the specification."""
    metric: str
    """The main metric."""
    unit: str
    """Its unit; may be empty."""
    higher_is_better: bool | None
    """None for a diagnostic."""
    score: float | None
    """Mean over the seeds; None where there is no value."""
    spread: float | None
    """Sample standard deviation over the seeds; None with one value."""
    seeds: int
    """Number of values."""
    scores: str
    """All metrics with all values, as JSON."""
    passes: int
    """Forward passes of the ViT per image."""
    seconds: float
    """Duration."""
    weights_sha256: str | None
    """Hash of the weights of the ViT and the method."""
    data_sha256: str
    """Hash of all files of the data."""
    dvt: str
    """Version of dvt."""
    torch: str
    """Version of PyTorch."""
    device: str
    """Device of the ViT."""
    receipt: str
    """File of the receipt, beside the table."""
    receipt_sha256: str
    """Hash of that file."""


def row_of(receipt: Receipt, receipt_sha256: str) -> Row:
    """The row of a receipt, whose file has the given hash."""
    result, scored, main = receipt.result, receipt.row, receipt.result.metrics[0]
    mean = result.mean(receipt.method, main.name)
    scores = {
        name: [value if math.isfinite(value) else None for value in values]
        for name, values in scored.scores.values.items()
    }
    return Row(
        cell=receipt.cell,
        backbone=receipt.vit,
        vit=result.backbone,
        method=receipt.method,
        task=receipt.label,
        kind=result.task,
        data=result.data,
        metric=main.name,
        unit=main.unit,
        higher_is_better=main.higher_is_better,
        score=mean if math.isfinite(mean) else None,
        spread=result.spread(receipt.method, main.name),
        seeds=len(scored.scores.values[main.name]),
        scores=json.dumps(scores),
        passes=scored.passes,
        seconds=float(scored.seconds),
        weights_sha256=scored.fingerprint.get("weights_hash"),
        data_sha256=receipt.data_sha256,
        dvt=str(scored.fingerprint.get("dvt", "")),
        torch=scored.environment.get("torch", ""),
        device=scored.environment.get("device", ""),
        receipt=receipt_path(receipt.cell),
        receipt_sha256=receipt_sha256,
    )


def require_parquet() -> None:
    """Refuse to start without the library that writes Parquet.

    Raises:
        ConfigError: says what to install.
    """
    try:
        import pyarrow.parquet  # noqa: F401
    except ImportError as error:
        raise ConfigError(
            f"dvt leaderboard needs pyarrow ({error}): pip install 'denoising-vit[leaderboard]'."
        ) from error


def write_rows(out: Path, receipts: Iterable[Receipt]) -> None:
    """Write the rows of receipts that are on the disk as CSV and Parquet, in their order.

    Raises:
        DiskError: they cannot be written.
    """
    import pyarrow
    from pyarrow import parquet

    rows = [row_of(receipt, file_hash(out, receipt.cell)) for receipt in receipts]
    names = [entry.name for entry in fields(Row)]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(names)
    writer.writerows([_written(value) for value in astuple(row)] for row in rows)
    kinds = {str: pyarrow.string(), int: pyarrow.int64(), float: pyarrow.float64(), bool: pyarrow.bool_()}
    schema = pyarrow.schema([(name, kinds[kind]) for name, kind in _kinds().items()])
    table = pyarrow.table({name: [getattr(row, name) for row in rows] for name in names}, schema=schema)
    buffer = io.BytesIO()
    parquet.write_table(table, buffer)
    write_atomic(out / PARQUET, buffer.getvalue())
    write_atomic(out / CSV, text.getvalue().encode())


def read_csv(out: Path) -> list[Row]:
    """The rows of the CSV; none where there is no file.

    Raises:
        EvaluationError: it is not such a table.
    """
    path = out / CSV
    if not path.exists():
        return []
    try:
        with path.open(encoding="utf-8", newline="") as file:
            lines = list(csv.DictReader(file, strict=True))
        return [Row(**{name: _read(line[name], name) for name in _kinds()}) for line in lines]
    except (OSError, ValueError, KeyError, TypeError, csv.Error) as error:
        raise EvaluationError(
            f"{path} is no table of a leaderboard ({error}). Delete it: the next run makes it again from the receipts."
        ) from error


def read_parquet(out: Path) -> list[Row]:
    """The rows of the Parquet file; none where there is no file.

    Raises:
        EvaluationError: it is not such a table.
    """
    import pyarrow
    from pyarrow import parquet

    path = out / PARQUET
    if not path.exists():
        return []
    try:
        return [Row(**line) for line in parquet.read_table(path).to_pylist()]
    except (OSError, TypeError, pyarrow.ArrowException) as error:
        raise EvaluationError(
            f"{path} is no table of a leaderboard ({error}). Delete it: the next run makes it again from the receipts."
        ) from error


def check_rows(out: Path, receipts: Mapping[str, Receipt]) -> list[Row]:
    """The rows of both files, each compared with its receipt. A receipt without a row is none of its business.

    Raises:
        EvaluationError: a row that differs from its receipt or has none; the row and what differs are named.
    """
    rows = read_csv(out)
    for path, found in ((out / CSV, rows), (out / PARQUET, read_parquet(out))):
        for row in found:
            _check(path, row, out, receipts)
    return rows


def _check(path: Path, row: Row, out: Path, receipts: Mapping[str, Receipt]) -> None:
    receipt = receipts.get(row.cell)
    if receipt is None:
        raise EvaluationError(f"{path}: the row {row.cell} has no receipt {out / receipt_path(row.cell)}. {_WAY_OUT}")
    right = row_of(receipt, file_hash(out, row.cell))
    if found := differences(_body(row), _body(right), "row", "receipt", strict=True):
        lines = "".join(f"\n  {line}" for line in found)
        raise EvaluationError(
            f"{path}: the row {row.cell} does not match its receipt {out / right.receipt}:{lines}\n{_WAY_OUT}"
        )


def _body(row: Row) -> dict[str, Any]:
    return {entry.name: getattr(row, entry.name) for entry in fields(Row)}


def _kinds() -> dict[str, type]:
    """The type of every column, without None."""
    hints = get_type_hints(Row)
    return {
        name: next(each for each in (get_args(hint) or (hint,)) if each is not NoneType) for name, hint in hints.items()
    }


def _written(value: Any) -> str:
    if value is None:
        return ""
    return str(value).lower() if isinstance(value, bool) else str(value)


def _read(text: str, name: str) -> Any:
    kind = _kinds()[name]
    if kind is str:
        return None if text == "" and name == "weights_sha256" else text
    if text == "":
        return None
    if kind is bool:
        return {"true": True, "false": False}[text]
    return kind(text)
