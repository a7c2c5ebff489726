"""Running a row: its entries in turn, round after round, so that the machine's noise meets all of them alike."""

from benchmarks.rows import Entry, Results, Row


def run(row: Row, *, warm_up: bool) -> Results:
    """All rounds of a row. An entry that fails once is left out from then on, and why is written down."""
    results = Results(row, {entry.label: [] for entry in row.entries})
    entries = list(row.entries)
    if warm_up:
        _round(entries, results, counted=False)
    for _ in range(row.rounds):
        _round(entries, results, counted=True)
    return results


def _round(entries: list[Entry], results: Results, *, counted: bool) -> None:
    for entry in list(entries):
        try:
            sample = entry.run()
        except Exception as error:
            entries.remove(entry)
            del results.samples[entry.label]
            results.failures.append(f"{entry.label} failed: {error or type(error).__name__}")
            continue
        if counted:
            results.samples[entry.label].append(sample)
