"""convo-tui: live captions and conversation summaries in the terminal.

`model/` is what is on the screen without a screen, `work/` what goes on behind it, `widgets/` and `screens/` draw it,
`context.py` is what screens are made with, `app.py` handles all messages. Importing this package imports none of them.
"""
