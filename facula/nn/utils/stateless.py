"""Calling a module with other parameters than its own.

In: a module, and tensors by their full names. Out: what the module computes with them; the module is as before.
"""

from __future__ import annotations

from typing import Any

__all__ = ["functional_call"]


def functional_call(
    module: Any,
    parameters_and_buffers: Any,
    args: Any = None,
    kwargs: dict[str, Any] | None = None,
    *,
    tie_weights: bool = True,
    strict: bool = False,
) -> Any:
    """Call `module` with the given tensors in the place of its parameters and buffers.

    Args:
        module: any module.
        parameters_and_buffers: full names to tensors, or a tuple of such mappings.
        args: the call's arguments, a tuple or a single one. Default: none
        kwargs: the call's keyword arguments. Default: none
        tie_weights: tensors that the module holds under several names are replaced under all. Default: True
        strict: every parameter and buffer must be given, and nothing else. Default: False

    Raises:
        RuntimeError: names missing or unexpected, where strict.
        ValueError: a name is given by two of the mappings.
    """
    given = _merged(parameters_and_buffers)
    own = {
        **dict(module.named_parameters(remove_duplicate=False)),
        **dict(module.named_buffers(remove_duplicate=False)),
    }
    if strict:
        unexpected = sorted(name for name in given if name not in own)
        missing = sorted(name for name in own if name not in given and not (tie_weights and _tied(name, own, given)))
        if unexpected or missing:
            parts = []
            if missing:
                parts.append("Missing key(s): " + ", ".join(missing))
            if unexpected:
                parts.append("Unexpected key(s): " + ", ".join(unexpected))
            raise RuntimeError("Error(s) in functional_call: " + "; ".join(parts))
    if tie_weights:
        by_identity = {id(own[name]): value for name, value in given.items() if name in own}
        given = {**{name: by_identity[id(t)] for name, t in own.items() if id(t) in by_identity}, **given}
    replaced: list[tuple[Any, str, Any]] = []
    try:
        for name, value in given.items():
            path, _, leaf = name.rpartition(".")
            owner = module.get_submodule(path)
            registry = owner._parameters if leaf in owner._parameters else owner._buffers
            if leaf not in registry:
                raise AttributeError(f"{owner._get_name()} has no attribute `{leaf}`")
            replaced.append((registry, leaf, registry[leaf]))
            registry[leaf] = value
        arguments = () if args is None else args if isinstance(args, tuple) else (args,)
        return module(*arguments, **(kwargs or {}))
    finally:
        for registry, leaf, value in reversed(replaced):
            registry[leaf] = value


def _tied(name: str, own: dict[str, Any], given: dict[str, Any]) -> bool:
    return any(other in given and own[other] is own[name] for other in own)


def _merged(mappings: Any) -> dict[str, Any]:
    if not isinstance(mappings, (list, tuple)):
        return dict(mappings)
    merged: dict[str, Any] = {}
    for mapping in mappings:
        repeated = [name for name in mapping if name in merged]
        if repeated:
            raise ValueError(
                f"{repeated[0]} appears in multiple dictionaries; behavior of functional call is ambiguous"
            )
        merged.update(mapping)
    return merged
