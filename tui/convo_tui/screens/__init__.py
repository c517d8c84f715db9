"""The screens: live, captions, history, one session, files, and the windows in front of them.

In: a `Context`, keys, calls of the app when something changed. Out: messages about what the user wants. A screen draws
and reads; it never acts on another screen or on the app.
"""
