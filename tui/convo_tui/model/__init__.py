"""What the screens show, without a screen: sessions, lines of text, files in a queue, whether the daemon keeps up.

In: events of the protocol and plain numbers. Out: values that widgets draw. Nothing here knows Textual, an event loop
or a clock.
"""
