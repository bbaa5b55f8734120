"""Online oracle-robust alignment of a language model (Algorithm 1 of arXiv 2602.20457), and its relatives."""

from importlib import import_module

__all__ = ["METHODS", "OnlineConfig", "evaluate", "load_config", "method_config", "train"]

_MODULES = {
    "METHODS": "methods",
    "OnlineConfig": "config",
    "evaluate": "evaluation",
    "load_config": "config",
    "method_config": "config",
    "train": "loop",
}


def __getattr__(name: str):
    """Import what is asked for at its first use: settings are described, read and refused without torch."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
