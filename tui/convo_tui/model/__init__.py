"""What is on the screen, without a screen: sessions, lines of text, files that wait, what keeps up and what does not.

In: events of the protocol and plain numbers. Out: values that widgets draw. Nothing here knows Textual, a loop or a
clock.
"""
