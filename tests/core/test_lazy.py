"""The lazy NumPy: not imported by importing the core, and NumPy itself once used."""

from __future__ import annotations

import subprocess
import sys

from facula.core.lazy import numpy as np


def test_core_does_not_import_numpy():
    program = (
        "import sys\n"
        "from facula.core import device, dtype, errors, lazy, promotion, shapes, strides\n"
        "assert 'numpy' not in sys.modules\n"
        "assert repr(lazy.numpy) == \"<lazy module 'numpy'>\"\n"
        "assert lazy.numpy.arange(3).sum() == 3\n"
        "assert 'numpy' in sys.modules and 'arange' in vars(lazy.numpy)\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_attributes_are_numpys():
    import numpy

    assert np.ndarray is numpy.ndarray
    assert np.linalg is numpy.linalg
    assert set(dir(np)) >= {"asarray", "float32"}
    assert not hasattr(np, "no_such_name")
