"""convo-tui: live captions and conversation summaries in the terminal.

`model/` is what is on the screen without a screen, `work/` what goes on behind it, `widgets/` and `screens/` draw it,
`app.py` holds it together. Importing this package imports none of them.
"""
