"""Kernels of the operators, by family: factories of launchable kernels, specialised on types and tiles."""
