"""The screens: live, captions, history, one session, files, and the small ones that ask something.

In: messages of `work/`, keys. Out: what the app is to do. A screen draws and asks; it sends nothing itself but
through the app's link.
"""
