"""Small widgets: each draws one thing from a model that others change.

In: values of `model/`, keys and clicks. Out: cells, and messages about what the user did.
"""
