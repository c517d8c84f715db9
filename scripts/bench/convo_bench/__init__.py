"""Benchmarks: figures from real daemons over real sockets, ratios measured side by side in one run."""
