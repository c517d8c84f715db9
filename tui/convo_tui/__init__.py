"""convo-tui: captions in the terminal. Only its face is here so far; the command `convo` shows the same events."""
