"""The kernel language: a typed subset of Python, compiled by LLVM at run time.

A kernel is an ordinary Python function with typed parameters. Its source is parsed (`source`), walked with SSA
values (`lower`) or with NumPy ones (`interpret`, the reference in tests), printed as LLVM IR text (`emit`), compiled
to an object (`target`) that the object cache keeps (`cache`), and linked into the process (`link`).

This package knows nothing of tensors, layouts or operators.
"""
