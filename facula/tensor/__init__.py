"""Tensors as users see them: the class, its creation, indexing, printing, and exchange with other libraries."""
