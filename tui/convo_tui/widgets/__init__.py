"""Small widgets: each draws one thing from a model that somebody else changes.

In: values of `model/`, keys and clicks. Out: cells, and messages about what the person did.
"""
