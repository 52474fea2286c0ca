"""What the environment decides, read once when facula is imported.

FACULA_REFERENCE=1: every operation takes the plain Python path; the native fast path and object types are not used. Free-threaded builds of
Python always run so: the native types count on the interpreter's lock and on its object layout.
(FACULA_CACHE_DIR and FACULA_NUM_THREADS are read where they are used, by the object cache and the thread pool.)
"""

from __future__ import annotations

import os
import sys

reference = os.environ.get("FACULA_REFERENCE", "") not in ("", "0") or "t" in getattr(sys, "abiflags", "")
