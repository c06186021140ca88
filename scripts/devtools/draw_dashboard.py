"""Draw a dashboard to a PNG file: draw_dashboard.py FILE < JSON. Runs with requirements/plots.txt.

The JSON comes from `localcloud/dashboard.py`.
"""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime
from typing import Any

import matplotlib as mpl  # type: ignore[import-not-found]

mpl.use("Agg")

from matplotlib import dates
from matplotlib import pyplot as plt
from PIL import Image  # type: ignore[import-not-found]

COLUMNS = 24

#: Inches of a column and of a row of the grid, and dots per inch.
COLUMN_IN, ROW_IN, DPI = 0.62, 0.32, 80

COLORS = ("#1f77b4", "#ff7f0e", "#2ca02c", "#d62728")

#: Rows of a table that have a place in its widget, and characters of a cell.
MAX_ROWS, MAX_CELL = 8, 84


def main(file: str) -> None:
    """Draw the JSON on standard input."""
    dashboard = json.load(sys.stdin)
    rows = max(widget["y"] + widget["height"] for widget in dashboard["widgets"])
    width, height = COLUMNS * COLUMN_IN, rows * ROW_IN
    plt.rcParams.update({"font.size": 8, "font.family": "DejaVu Sans", "axes.edgecolor": "#cccccc"})
    figure = plt.figure(figsize=(width, height), dpi=DPI, facecolor="#f2f3f3")
    for widget in dashboard["widgets"]:
        left, bottom = widget["x"] / COLUMNS, 1 - (widget["y"] + widget["height"]) / rows
        wide, high = widget["width"] / COLUMNS, widget["height"] / rows
        gap_x, gap_y = 0.06 / width, 0.05 / height
        card = figure.add_axes((left + gap_x, bottom + gap_y, wide - 2 * gap_x, high - 2 * gap_y), facecolor="white")
        card.set_xticks([])
        card.set_yticks([])
        inches = widget["width"] * COLUMN_IN, widget["height"] * ROW_IN
        {"text": _text, "metric": _graph, "log": _table}[widget["type"]](figure, card, widget, inches, dashboard)
    figure.savefig(file, facecolor=figure.get_facecolor())
    Image.open(file).convert("RGB").quantize(64).save(file, optimize=True)


def _title(card: Any, text: str, inches: tuple[float, float]) -> None:
    card.text(0.1 / inches[0], 1 - 0.12 / inches[1], text, transform=card.transAxes, va="top", weight="bold")


def _text(_figure: Any, card: Any, widget: Any, inches: tuple[float, float], _dashboard: Any) -> None:
    title, _, text = widget["text"].partition("\n")
    card.text(0.1 / inches[0], 0.74, title.lstrip("# "), transform=card.transAxes, va="center", weight="bold", size=12)
    card.text(0.1 / inches[0], 0.28, text.replace("`", ""), transform=card.transAxes, va="center")


def _graph(figure: Any, card: Any, widget: Any, inches: tuple[float, float], dashboard: Any) -> None:
    _title(card, widget["title"], inches)
    if not any(line["points"] for line in widget["lines"]):
        card.text(0.5, 0.45, "no data on the local cloud", transform=card.transAxes, ha="center", color="#888888")
        return
    box = card.get_position()
    inch_x, inch_y = box.width / inches[0], box.height / inches[1]
    place = (box.x0 + 0.45 * inch_x, box.y0 + 0.42 * inch_y, box.width - 0.6 * inch_x, box.height - 0.8 * inch_y)
    axes = figure.add_axes(place)
    for color, line in zip(COLORS, widget["lines"], strict=False):
        times = [datetime.fromtimestamp(at, UTC) for at, _ in line["points"]]
        values = [value for _, value in line["points"]]
        axes.plot(times, values, color=color, label=line["label"], marker=".", markersize=4, linewidth=1.2)
    axes.set_xlim(*(datetime.fromtimestamp(dashboard[name], UTC) for name in ("from", "until")))
    top = max((value for line in widget["lines"] for _, value in line["points"]), default=0)
    axes.set_ylim(0, top * 1.12 or 1)
    axes.xaxis.set_major_locator(dates.AutoDateLocator(minticks=3, maxticks=6))
    axes.xaxis.set_major_formatter(dates.DateFormatter("%H:%M"))
    axes.yaxis.set_major_locator(plt.MaxNLocator(4, integer=top >= 4))
    axes.yaxis.set_major_formatter(lambda value, _: _short(value))
    axes.grid(axis="y", color="#eeeeee")
    axes.tick_params(length=2, color="#cccccc", labelcolor="#555555", labelsize=7)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.12), ncol=4, frameon=False, fontsize=7, handlelength=1.2)


def _short(value: float) -> str:
    for size, suffix in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:g}{suffix}"
    return f"{value:g}"


def _table(_figure: Any, card: Any, widget: Any, inches: tuple[float, float], _dashboard: Any) -> None:
    _title(card, widget["title"], inches)
    rows = widget["rows"][:MAX_ROWS]
    columns = list(dict.fromkeys(name for row in rows for name in row))
    texts = [columns, *([_cell(row.get(name, "")) for name in columns] for row in rows)]
    widths = [max(len(text) for text in column) + 2 for column in zip(*texts, strict=True)]
    step, left = 0.235 / inches[1], 0.1 / inches[0]
    space = 1 - 2 * left
    for number, row in enumerate(texts):
        at = left
        for text, width in zip(row, widths, strict=True):
            y = 1 - 0.42 / inches[1] - number * step
            color = "#555555" if number == 0 else "black"
            card.text(at, y, text, transform=card.transAxes, va="top", size=6.5, color=color, clip_on=True)
            at += space * width / sum(widths)


def _cell(value: Any) -> str:
    text = str(value)
    return text if len(text) <= MAX_CELL else f"{text[: MAX_CELL - 1]}…"


if __name__ == "__main__":
    main(sys.argv[1])
