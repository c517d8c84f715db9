"""Tells others when a session has ended: a signed POST, a command.

In: final states of sessions. Out: deliveries, each made at least once, also across a crash of the daemon.
"""

from convod.hooks.hooks import Hooks
from convod.hooks.settings import HookSettings

__all__ = ["HookSettings", "Hooks"]
