"""The load bench as a picture: final latency against the number of talks."""

from __future__ import annotations

from typing import Any


def plot(figures: dict[str, Any], file: str) -> None:
    """Draw `figures["load"]` to a PNG file.

    Raises:
        SystemExit: matplotlib is missing, or the load bench was not run.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise SystemExit("--plot needs matplotlib: .venv/bin/pip install matplotlib") from error
    if "load" not in figures:
        raise SystemExit("--plot draws the load bench: run `load` or `all`")
    rows = {int(name.split()[0]): row for name, row in figures["load"].items() if name.endswith(" talks")}
    picture = Figure(figsize=(6, 3.5), layout="constrained")
    axes = picture.subplots()
    for place, label in enumerate(("p50", "p95")):
        values = [row["final latency p50 / p95, ms"][place] for row in rows.values()]
        axes.plot(list(rows), values, marker="o", label=label)
    axes.axhline(500, color="grey", linestyle=":", label="late")
    axes.set_xlabel("talks at once, interims on")
    axes.set_ylabel("final beyond the endpoint, ms")
    axes.legend()
    picture.savefig(file, dpi=150)
