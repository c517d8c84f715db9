"""Servers that stand in for others, true to the wire; each also runs as a program."""
