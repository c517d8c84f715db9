"""Work in the background: the link to the daemon, the live session, watched sessions, uploads.

In: what the user wants. Out: messages for the app. Nothing here touches a widget.
"""
