"""The tasks: one file for each kind of data, with all that training, evaluating and using a model of it takes.

A new kind is one file here, and its name in the tuple below; a user's own is a file that ``model.part_files`` names.
"""

from importlib import import_module

KINDS = ("text", "pairs", "problems", "masked")
"""The files, in order: of the kinds that a model's family can be trained on, the first is its
default."""

for _kind in KINDS:
    import_module(f"{__name__}.{_kind}")
