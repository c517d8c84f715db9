"""What goes on behind the screens: the link to the daemon, sessions being spoken, watched, uploaded.

In: what somebody wants. Out: messages for screens. Nothing here touches a widget.
"""
