"""The loader's parts: fetching samples, collating them, the worker process and how its batches come back."""
