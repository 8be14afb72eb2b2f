"""`dvt leaderboard`: ViTs x methods x tasks as rows with receipts, resumable, on one page."""

from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING

from dvt.cli.console import CRASH, DONE, MISSING, SOME_FAILED, complain, say, say_failures
from dvt.cli.outcome import Result
from dvt.errors import ConfigError
from dvt.options import check_range

if TYPE_CHECKING:
    from dvt.backbone.backbone import Backbone
    from dvt.cli.method_options import MethodsOptions
    from dvt.leaderboard.cells import Loader
    from dvt.leaderboard.spec import Board, VitEntry
    from dvt.methods.method import Method

HEAD = """\
dvt leaderboard: score ViTs x methods x tasks; a row and a receipt per cell, and one page that shows them.

usage: dvt leaderboard spec=FILE out=FOLDER [data=FOLDER]         score what is missing
       dvt leaderboard verify out=FOLDER [data=FOLDER] [seed=0]   score one cell again, drawn at random, and compare

  dvt leaderboard spec=leaderboard/quick.yaml data=data/ out=runs/board
  dvt leaderboard verify out=runs/board
  dvt leaderboard verify out=runs/board cell=vit_micro/camvid/raw

It writes index.html, rows.csv, rows.parquet, receipts/ and maps/; work/ belongs to this machine. Stopped? The same
command continues. A receipt that was changed, or a row that does not match its receipt, is refused by its name.
docs/howto/leaderboard.md describes the YAML."""

GROUPS = ()
METRIC = None
VERIFY = "verify"


@dataclass(kw_only=True, slots=True)
class Options:
    """Options of `dvt leaderboard`."""

    spec: str | None = None
    """YAML file: backbones, methods, tasks, and the doctor's images."""
    out: str = MISSING
    """Folder of the leaderboard."""
    data: str | None = None
    """Folder that ${data} in the specification stands for; verify: default that of the last run."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:1 or mps."""
    verify: bool = False
    """Score one cell again and compare; `dvt leaderboard verify` is short for it. Exit code 1 if it differs."""
    cell: str | None = None
    """verify only: backbone/task/method; default: drawn at random."""
    seed: int = 0
    """verify only: seed of the draw."""
    tolerance: float = 0.01
    """verify only: largest difference of a value that is accepted, as a share of it; 0 on the same machine."""

    def __post_init__(self) -> None:
        """Refuse invalid values."""
        check_range(self, "tolerance", least=0)


def run(arguments: list[str]) -> int:
    """Run the verb and return its exit code."""
    from dvt.cli.job import run_verb

    if arguments[:1] == [VERIFY]:
        arguments = ["verify=true", *arguments[1:]]
    return run_verb("leaderboard", arguments)


def work(options: Options, choices: dict[str, str]) -> Result:
    """Score what is missing, or verify one cell."""
    return _verify(options) if options.verify else _run(options)


def _run(options: Options) -> Result:
    from dvt.cli.reporter import TerminalReporter
    from dvt.leaderboard.run import run_board
    from dvt.leaderboard.spec import read_board
    from dvt.leaderboard.table import require_parquet

    if options.spec is None:
        raise ConfigError("dvt leaderboard needs spec=FILE   (dvt leaderboard --help explains it)")
    if options.cell is not None:
        raise ConfigError(f"cell={options.cell} belongs to dvt leaderboard verify.")
    require_parquet()
    board = read_board(options.spec, options.data)
    _check_methods(board, options.device)
    count = sum(len(vit.methods) for vit in board.vits) * len(board.tasks)
    say(f"{count} cells (ViTs: {len(board.vits)}, tasks: {len(board.tasks)}) -> {options.out}")
    with TerminalReporter() as reporter:
        failed = run_board(board, options.out, loader(options.device), data=options.data, reporter=reporter)
    say_failures(failed)
    say(f"written: {Path(options.out) / 'index.html'}, rows.csv, rows.parquet")
    return Result(code=SOME_FAILED if failed else DONE)


def _verify(options: Options) -> Result:
    from dvt.cli.reporter import TerminalReporter
    from dvt.evaluation.table import cell
    from dvt.leaderboard.table import require_parquet
    from dvt.leaderboard.verify import verify_cell

    if options.spec is not None:
        raise ConfigError(f"spec={options.spec}: dvt leaderboard verify reads the receipts in out=; leave spec out.")
    require_parquet()
    with TerminalReporter() as reporter:
        found = verify_cell(
            options.out,
            loader(options.device, some=True),
            data=options.data,
            cell=options.cell,
            seed=options.seed,
            choose=lambda name: say(f"{name}: scored again"),
            reporter=reporter,
        )
    receipt = found.receipt
    for metric in receipt.result.metrics:
        before, after = (cell(result, receipt.method, metric) for result in (receipt.result, found.again))
        print(f"{metric.name:<28}{before:>18} in the receipt{after:>18} now")
    for line in found.versions:
        say(line)
    share = f"{found.worst} differs by {found.largest:.2%}" if found.largest else "all values are the same"
    if found.largest > options.tolerance:
        return Result(code=complain(f"{receipt.cell}: {share}, more than tolerance={options.tolerance:g}.", CRASH))
    print(f"{receipt.cell}: verified, {share}")
    return Result(code=DONE)


def loader(device: str, *, some: bool = False) -> "Loader":
    """Loads ViTs with their methods onto a device, as `dvt evaluate` does.

    Args:
        device: the device.
        some: whether weights that belong to other methods are loaded too: where raw features are read depends on them.
    """

    def load(board: "Board", vit: "VitEntry") -> "tuple[Backbone, list[Method]]":
        from dvt.cli.method_options import load_methods

        options = _options(board, vit, device)
        if some:
            options.method += [name for name in _trained(options) if name not in options.method]
        backbone, methods = load_methods(options, one_size=False)
        return backbone, methods[: len(vit.methods)]

    return load


def _trained(options: "MethodsOptions") -> list[str]:
    """A method for each of the given weights."""
    from dvt.cli.method_options import weights_by_name

    given = {"denoised": weights_by_name(options, "denoiser"), "distilled": weights_by_name(options, "distilled")}
    return [base if len(weights) == 1 else f"{base}:{name}" for base, weights in given.items() for name in weights]


def _options(board: "Board", vit: "VitEntry", device: str) -> "MethodsOptions":
    """The options of `dvt evaluate` for a ViT of a leaderboard."""
    from dvt.cli.method_options import MethodsOptions
    from dvt.decomposition.quality import load_quality

    stage_1 = load_quality(board.quality)
    return MethodsOptions(
        **{entry.name: getattr(stage_1, entry.name) for entry in fields(stage_1)},
        method=list(vit.methods),
        denoiser=list(vit.denoiser) or None,
        distilled=list(vit.distilled) or None,
        backbone=vit.config,
        seed=board.seed,
        device=device,
    )


def _check_methods(board: "Board", device: str) -> None:
    """Refuse methods that lack their weights, and weights without a method.

    Raises:
        ConfigError: names the ViT.
    """
    from dvt.cli.method_options import check_methods

    for vit in board.vits:
        try:
            check_methods(_options(board, vit, device), board.quality)
        except ConfigError as error:
            raise ConfigError(f"{vit.label}: {error}") from error
