"""The picture of one row: a panel of bars for each metric, drawn as SVG by hand."""

from html import escape
from itertools import count
from statistics import median
from typing import Any, Final

WIDTH: Final = 960
LABELS: Final = 190  # width of the column of names
GAP: Final = 24
BAR, STEP, TOP = 18, 28, 74
OURS, OTHERS, INK, FAINT = "#c2410c", "#94a3b8", "#1e293b", "#64748b"


def draw(row: dict[str, Any]) -> str:
    """Names at the left, a panel for each metric; the first line is ours. Whiskers show the slowest and fastest run."""
    entries = [entry for entry in row["entries"] if entry["samples"]]
    metrics = row["metrics"]
    height = TOP + STEP * len(entries) + 40
    panel = (WIDTH - LABELS - GAP * len(metrics)) // len(metrics)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" '
        f'font-family="system-ui, sans-serif" role="img" aria-label="{escape(row["title"])}">',
        f'<rect width="{WIDTH}" height="{height}" fill="#ffffff"/>',
        _text(16, 28, row["title"], size=17, weight=600),
    ]
    for entry, y in zip(entries, count(TOP, STEP), strict=False):
        parts.append(_text(LABELS - 10, y + BAR - 4, entry["label"], anchor="end", weight=_weight(entry)))
    for metric, left in zip(metrics, count(LABELS, panel + GAP), strict=False):
        parts.append(_text(left, TOP - 14, metric, size=13, fill=FAINT))
        parts += _panel(entries, metric, left, panel)
    note = (
        "The first verifies, syncs and publishes each file; the others do neither. Whiskers: slowest and fastest run."
    )
    parts += [_text(16, height - 14, note, size=12, fill=FAINT), "</svg>", ""]
    return "\n".join(parts)


def _panel(entries: list[dict[str, Any]], metric: str, left: int, width: int) -> list[str]:
    values = [[sample[metric] for sample in entry["samples"]] for entry in entries]
    unit = (width - 44) / max(map(max, values))  # room for the number behind the longest bar
    parts = []
    for entry, samples, y in zip(entries, values, count(TOP, STEP), strict=False):
        low, middle, high = (unit * value for value in (min(samples), median(samples), max(samples)))
        fill = OURS if entry is entries[0] else OTHERS
        parts.append(f'<rect x="{left}" y="{y}" width="{middle:.1f}" height="{BAR}" rx="2" fill="{fill}"/>')
        if high > low:
            line = f"M{left + low:.1f} {y + BAR / 2}H{left + high:.1f}"
            parts.append(f'<path d="{line}" stroke="{INK}" stroke-width="1.5"/>')
        value = median(samples)
        shown = f"{value:.0f}" if value >= 10 else f"{value:.2f}"
        parts.append(_text(left + max(high, middle) + 6, y + BAR - 4, shown, size=13))
    return parts


def _weight(entry: dict[str, Any]) -> int:
    return 600 if entry["label"] == "Jackfield" else 400


def _text(
    x: float, y: float, text: str, *, size: int = 14, weight: int = 400, anchor: str = "start", fill: str = INK
) -> str:
    return (
        f'<text x="{x:.1f}" y="{y}" font-size="{size}" font-weight="{weight}" text-anchor="{anchor}" '
        f'fill="{fill}">{escape(text)}</text>'
    )
