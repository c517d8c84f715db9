"""The load bench as a picture: latencies of finals and of words against the number of talks."""

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
    picture = Figure(figsize=(9, 3.5), layout="constrained")
    panels = {
        "final latency p50 / p95, ms": "final beyond the endpoint, ms",
        "word latency p50 / p95, ms": "word shown after it was spoken, ms",
    }
    for axes, (figure, title) in zip(picture.subplots(1, 2), panels.items(), strict=True):
        for place, label in enumerate(("p50", "p95")):
            axes.plot(list(rows), [row[figure][place] for row in rows.values()], marker="o", label=label)
        axes.set_xlabel("talks at once, interims on")
        axes.set_ylabel(title)
        axes.set_yscale("log")
        axes.set_yticks([30, 100, 300, 1000, 3000], [30, 100, 300, 1000, 3000])
        axes.minorticks_off()
        axes.grid(alpha=0.3)
        axes.legend()
    picture.savefig(file, dpi=150)
