"""Lossless edits of other people's configuration: text in, text out, no I/O.

Each format has an editor that finds where an entry stands and splices text there; nothing is ever written anew
that was not asked for. `document.py` is the way in: it checks every result by its meaning before anybody sees it.
"""
