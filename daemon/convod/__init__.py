"""convod: the daemon that hears, transcribes and summarises. `daemon.py` shows it whole."""

__version__ = "0.1.0"
