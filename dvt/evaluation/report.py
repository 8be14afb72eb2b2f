"""The page: everything in one file, nothing fetched."""

import base64
import io
from collections.abc import Sequence
from html import escape
from pathlib import Path

from PIL import Image

from dvt.evaluation.report_plots import bars_svg
from dvt.evaluation.result import TaskResult
from dvt.evaluation.table import findings, notes, protocol_text, table
from dvt.evaluation.task import Metric
from dvt.files import write_atomic

_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; color: #181818; max-width: 62rem; margin: 2rem auto; padding: 0 1rem; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; margin: 1rem 0; }
th, td { padding: .3rem .8rem; border-bottom: 1px solid #dddddd; text-align: right; }
th:first-child, td:first-child { text-align: left; }
.scroll { overflow-x: auto; }
.small { color: #555555; font-size: .85rem; }
svg { max-width: 100%; height: auto; }
img { max-width: 100%; }
""".strip()


def write_page(
    path: str | Path, results: Sequence[TaskResult], panels: Sequence[tuple[str, Image.Image]] = (), title: str = "dvt"
) -> None:
    """Write results as one HTML page.

    Args:
        path: the file; an existing one is replaced.
        results: a section each.
        panels: pictures with a caption each, below the results.
        title: of the page.

    Raises:
        DiskError: the file cannot be written.
    """
    parts = [
        '<!doctype html><html lang="en"><head><meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head><body><h1>{escape(title)}</h1>",
        *(_section(result) for result in results),
        *([f"<h2>Features</h2>{''.join(_figure(*panel) for panel in panels)}"] if panels else []),
        "</body></html>\n",
    ]
    write_atomic(Path(path), "\n".join(parts).encode())


def _section(result: TaskResult) -> str:
    heads, rows = table(result)
    seconds = {name: f"{row.seconds:.0f}" for name, row in result.rows.items()}
    head = "".join(f"<th>{escape(each)}</th>" for each in (*heads, "seconds"))
    body = "".join(
        f"<tr>{''.join(f'<td>{escape(each)}</td>' for each in (*row, seconds[row[0]]))}</tr>" for row in rows
    )
    said = "".join(f"<li>{escape(line)}</li>" for line in (*findings(result), *notes(result)))
    meanings = "".join(f"<li>{escape(metric.name)}: {escape(metric.meaning)}</li>" for metric in result.metrics)
    plots = "".join(filter(None, (bars_svg(result, metric) for metric in _plotted(result))))
    machine = ", ".join(f"{key} {value}" for key, value in result.environment.items())
    return (
        f"<h2>{escape(result.task.replace('_', ' '))}, {escape(result.backbone)}</h2>"
        f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'
        f'<ul>{said}</ul>{plots}<ul class="small">{meanings}</ul>'
        f'<p class="small">Protocol: {escape(protocol_text(result))}. Passes are forward passes of the ViT per picture,'
        f" at the size of the task. {escape(machine)}.</p>"
    )


def _plotted(result: TaskResult) -> list[Metric]:
    """The main metric in every layout, or the first four where there is one."""
    main = [metric for metric in result.metrics if metric.name.startswith(result.metrics[0].name)]
    return main if len(main) > 1 else list(result.metrics[:4])


def _figure(caption: str, picture: Image.Image) -> str:
    buffer = io.BytesIO()
    picture.convert("RGB").save(buffer, "PNG")
    data = base64.b64encode(buffer.getvalue()).decode()
    return (
        f'<figure><img alt="{escape(caption)}" src="data:image/png;base64,{data}">'
        f"<figcaption>{escape(caption)}</figcaption></figure>"
    )
