"""What came of it: on the terminal, as JSON, and as a page."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from benchmarks.rows import Figure, Results

BEGIN: Final = "<!-- figures: written by python -m benchmarks -->"
END: Final = "<!-- end of figures -->"
NO_FIGURE: Final = "–"

Document = dict[str, Any]


def text(figure: Figure | None) -> str:
    """Median (min–max), and a word where these are too far apart to be trusted."""
    if figure is None:
        return NO_FIGURE
    spread = f" ({number(min(figure.samples))}–{number(max(figure.samples))})" if len(figure.samples) > 1 else ""
    return number(figure.median) + spread + (" noisy" if figure.noisy else "")


def number(value: float) -> str:
    """Three digits that count, and thousands by comma."""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def as_document(results: Results, revision: str) -> Document:
    """One row, as JSON keeps it and as the page is made from it."""
    row = results.row
    entries = []
    for entry in row.entries:
        figures = {metric: results.figure(entry.label, metric) for metric in row.metrics}
        samples = results.samples.get(entry.label, [])
        entries.append({
            "label": entry.label, "does": entry.does,
            "figures": {metric: text(figure) for metric, figure in figures.items()}, "samples": samples,
        })  # fmt: skip
    goals = []
    for goal in row.goals:
        judged = results.judged(goal)
        reached, met = (text(judged[0]), judged[1]) if judged else (NO_FIGURE, None)
        goals.append({"goal": str(goal), "reached": reached, "met": met})
    return {
        "title": row.title, "measured": datetime.now(UTC).strftime("%Y-%m-%d"), "revision": revision,
        "rounds": row.rounds, "metrics": list(row.metrics), "entries": entries, "goals": goals,
        "problems": [*row.left_out, *results.failures],
    }  # fmt: skip


def verdict(goal: Document) -> str:
    """One word for a goal."""
    if goal["reached"] == NO_FIGURE:
        return "not measured"
    return {True: "met", False: "missed", None: "noted"}[goal["met"]]


def print_row(row: Document) -> None:
    """A row as a table of plain text."""
    table = [["", *row["metrics"]]]
    table += [[entry["label"], *entry["figures"].values()] for entry in row["entries"] if entry["samples"]]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    print(f"\n{row['title']}   [{_rounds(row)}]")
    for line in table:
        print("  " + "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())
    for goal in row["goals"]:
        print(f"  {verdict(goal):>12}  {goal['goal']}: {goal['reached']}")
    for problem in row["problems"]:
        print(f"  {problem}")


# -- files


def load(path: Path, machine: dict[str, str]) -> Document:
    """What was measured before on this machine; figures of another are not mixed with ours."""
    try:
        document: Document = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {"machine": machine, "rows": {}}
    return document if document["machine"] == machine else {"machine": machine, "rows": {}}


def save(path: Path, document: Document) -> None:
    """Write the JSON."""
    path.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def fill(page: Path, document: Document) -> None:
    """Put the figures between the page's marks."""
    before, _, rest = page.read_text(encoding="utf-8").partition(BEGIN)
    _, _, after = rest.partition(END)
    page.write_text(before + BEGIN + "\n\n" + _markdown(document) + "\n" + END + after, encoding="utf-8")


def _markdown(document: Document) -> str:
    picture = "![One stream: rate, CPU seconds and memory of each server](benchmarks.svg)\n\n"
    return f"{picture}Machine: {', '.join(document['machine'].values())}.\n" + "".join(
        map(_section, document["rows"].values())
    )


def _section(row: Document) -> str:
    does = any(entry["does"] for entry in row["entries"])
    heads = ["", *row["metrics"], *(["what it does for a file"] if does else [])]
    lines = ["", f"### {row['title']}", "", _line(heads), _line(["---"] * len(heads))]
    lines += [
        _line([entry["label"], *entry["figures"].values(), *([entry["does"]] if does else [])])
        for entry in row["entries"]
        if entry["samples"]
    ]
    lines += ["", *(f"- {verdict(goal)}: {goal['goal']}; reached {goal['reached']}" for goal in row["goals"])]
    lines += [f"- {problem}" for problem in row["problems"]]
    lines += ["", f"*{_rounds(row).capitalize()}; {row['measured']}, commit {row['revision']}.*", ""]
    return "\n".join(lines)


def _rounds(row: Document) -> str:
    return f"{row['rounds']} rounds, median (min–max)" if row["rounds"] > 1 else "one round"


def _line(cells: list[str]) -> str:
    return "| " + " | ".join(cells) + " |"
