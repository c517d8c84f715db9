"""convo-tui: live captions and conversation summaries in the terminal.

`model/` holds what the screens show, `work/` runs in the background, `widgets/` and `screens/` draw. `context.py` is
what every screen is given; `app.py` handles all messages. Importing this package imports none of them.
"""
