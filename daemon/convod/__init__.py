"""convod: the daemon that transcribes and summarises speech. `daemon.py` shows it whole."""

__version__ = "0.1.0"
