"""Windows of audio to text: `scheduler` decides, `supervisor` owns the worker processes, `worker` and `whisper` run
in them. `models` finds a model by name, `decode` turns files into PCM in a process of its own.
"""
