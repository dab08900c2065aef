"""Inspection: everything in a forward pass and a training run, by name, in numbers and pictures.

Each module looks at one thing. Its function takes a :class:`~glassformer.models.trace.Trace` (``model.trace(tokens)``)
and gives numbers that show themselves: in a notebook by themselves, as files by ``figure.save``, and all together on
the page of :func:`~glassformer.inspection.page.inspect`.
"""
