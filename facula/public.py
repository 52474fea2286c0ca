"""Names of the top namespace that are imported only when a program asks for them.

Each line says where a name lives; `facula.__getattr__` comes here once per name.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

_HOMES = {
    "facula.alias": ("install_as",),
    "facula.serialization": ("save", "load"),
    "facula.random": (
        "manual_seed", "seed", "initial_seed", "get_rng_state", "set_rng_state", "Generator", "default_generator",
    ),
    "facula.runtime.threads": ("set_num_threads", "get_num_threads", "set_num_interop_threads", "get_num_interop_threads"),
    "facula.tensor.printing": ("set_printoptions", "get_printoptions"),
    "facula.compile": ("compile",),
    "facula.tensor.legacy": (
        "FloatTensor", "DoubleTensor", "HalfTensor", "BFloat16Tensor", "ByteTensor", "CharTensor", "ShortTensor", "IntTensor", "LongTensor",
        "BoolTensor", "set_default_tensor_type", "typename", "is_tensor", "is_storage", "is_floating_point", "is_complex", "numel",
        "is_nonzero", "UntypedStorage", "TypedStorage", "FloatStorage", "DoubleStorage", "LongStorage", "ByteStorage",
        "use_deterministic_algorithms", "are_deterministic_algorithms_enabled", "set_float32_matmul_precision", "result_type",
        "get_float32_matmul_precision", "get_deterministic_debug_mode", "set_deterministic_debug_mode", "set_warn_always", "vmap",
        "is_warn_always_enabled", "is_deterministic_algorithms_warn_only_enabled", "is_signed", "is_conj", "is_neg", "is_inference",
        "is_same_size", "get_device", "HalfStorage", "BFloat16Storage", "CharStorage", "ShortStorage", "IntStorage", "BoolStorage",
        "ComplexFloatStorage", "ComplexDoubleStorage",
    ),
    "facula.nn.functional": (
        "pixel_shuffle", "pixel_unshuffle", "channel_shuffle", "cosine_similarity", "pairwise_distance", "pdist", "ctc_loss",
        "triplet_margin_loss", "margin_ranking_loss", "hinge_embedding_loss", "cosine_embedding_loss",
    ),
}  # fmt: skip
_WHERE = {name: home for home, names in _HOMES.items() for name in names}


def find(name: str) -> Any:
    """The object of that name, or None if facula has none."""
    home = _WHERE.get(name)
    return None if home is None else getattr(import_module(home), name, None)
