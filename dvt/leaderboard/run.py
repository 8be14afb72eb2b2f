"""run_board: score what is missing in a leaderboard; write receipts, rows, maps and the page after every step."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from dvt.errors import ConfigError, DvtError
from dvt.evaluation.tasks import make_task
from dvt.files import DiskError, disk_errors, to_json, write_atomic
from dvt.leaderboard.cells import WORK, Loader, require_same_request, same_features, score_cells
from dvt.leaderboard.data_hash import hash_of_data
from dvt.leaderboard.maps import has_maps, write_maps
from dvt.leaderboard.page import write_board_page
from dvt.leaderboard.receipts import Receipt, cell_name, make_receipt, read_receipts, write_receipt
from dvt.leaderboard.spec import Board
from dvt.leaderboard.table import check_rows, require_parquet, write_rows
from dvt.numbers import takes_numbers
from dvt.one_writer import LOCK, one_writer
from dvt.progress import SILENT, Reporter
from dvt.torch_state import own_torch_state

KNOWN: Final = "data_hashes.json"
"""Hashes of data, in `work/`."""
PATHS: Final = "paths.json"
"""Where the data are on this machine, in `work/`."""


@takes_numbers
@own_torch_state()
def run_board(
    board: Board, out: str | Path, load: Loader, *, data: str | Path | None = None, reporter: Reporter = SILENT
) -> dict[str, str]:
    """Score every cell of a leaderboard that has no receipt yet.

    Stopped at any point, the same call continues. Rows that are there are kept, also those of other specifications.

    Args:
        board: what `read_board` returned.
        out: folder of the leaderboard: `receipts/`, `rows.csv`, `rows.parquet`, `index.html`, `maps/`, and `work/`,
            which belongs to this machine.
        load: loads a ViT with its methods.
        data: what `${data}` stands for; kept in `work/`, for `verify_cell`.
        reporter: shows the progress.

    Returns:
        Why cells, ViTs or maps failed, by name; empty if all is well. The others are not stopped by it.

    Raises:
        ConfigError: pyarrow is not installed, or another process writes to the folder.
        EvaluationError: data are missing; a receipt was changed; a row does not match its receipt; a cell was scored on
            other data or with another specification.
        DiskError: the disk is full or refuses.
    """
    require_parquet()
    out = Path(out)
    if out.exists() and not out.is_dir():
        raise ConfigError(f"out={out} is a file: give a folder.")
    with one_writer(out / LOCK, out):
        receipts = read_receipts(out)
        check_rows(out, receipts)
        tasks = {entry.label: make_task(entry.name, entry.config, entry.folder) for entry in board.tasks}
        with disk_errors(out):
            (out / WORK).mkdir(parents=True, exist_ok=True)
        hashes = {entry.label: hash_of_data(entry.folder, out / WORK / KNOWN) for entry in board.tasks}
        require_same_request(out, board, hashes, receipts)
        if data is not None:
            write_atomic(out / WORK / PATHS, to_json({"data": str(Path(data).resolve())}).encode())
        failed: dict[str, str] = {}
        for vit in board.vits:
            try:
                backbone, methods = load(board, vit)
            except DiskError:
                raise
            except DvtError as error:
                failed[vit.label] = str(error)
                continue
            for entry in board.tasks:
                missing = [
                    method
                    for method in methods
                    if not same_features(method, receipts.get(cell_name(vit.label, entry.label, method.name)))
                ]
                if not missing:
                    continue
                reporter.note(f"{vit.label}, {entry.label}: {len(missing)} of {len(methods)} methods to score")
                where = out / WORK / vit.label / f"{entry.label}-{hashes[entry.label][:8]}"
                result, why = score_cells(tasks[entry.label], entry, backbone, missing, where, reporter)
                failed |= {cell_name(vit.label, entry.label, name): text for name, text in why.items()}
                if result is not None:
                    fresh = [
                        make_receipt(board, vit, entry, name, hashes[entry.label], result)
                        for name in result.rows
                        if name in {method.name for method in missing}
                    ]
                    _keep(out, board, receipts, fresh)
            if board.doctor is not None and not has_maps(out, vit, board.doctor, backbone):
                try:
                    write_maps(out, vit, board.doctor, backbone, reporter)
                except DiskError:
                    raise
                except DvtError as error:
                    failed[f"{vit.label}, doctor"] = str(error)
        _write(out, board, receipts)
    return failed


def _keep(out: Path, board: Board, receipts: dict[str, Receipt], fresh: Sequence[Receipt]) -> None:
    """Write new receipts, then all rows and the page.

    Rows of receipts that are replaced are removed first: a row has its receipt, whenever the process ends.
    """
    replaced = [receipt.cell for receipt in fresh if receipt.cell in receipts]
    for cell in replaced:
        del receipts[cell]
    if replaced:
        write_rows(out, _ordered(board, receipts))
    for receipt in fresh:
        write_receipt(out, receipt)
        receipts[receipt.cell] = receipt
    _write(out, board, receipts)


def _write(out: Path, board: Board, receipts: dict[str, Receipt]) -> None:
    ordered = _ordered(board, receipts)
    write_rows(out, ordered)
    write_board_page(out, board.title, ordered)


def _ordered(board: Board, receipts: dict[str, Receipt]) -> list[Receipt]:
    """In the order of the specification; cells of others behind, by name."""
    asked = [
        cell_name(vit.label, task.label, method) for vit in board.vits for method in vit.methods for task in board.tasks
    ]
    others = sorted(set(receipts) - set(asked))
    return [receipts[cell] for cell in (*asked, *others) if cell in receipts]
