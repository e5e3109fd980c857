"""What the roles need of peft, without bitsandbytes where no base has 4 bits.

peft imports bitsandbytes wherever it is installed, at its own import and with the first adapter, and that imports PyTorch's
compiler: 3 seconds of every start.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from typing import Any

_ONE_AT_A_TIME = threading.RLock()


@contextmanager
def without_bitsandbytes() -> Iterator[None]:
    """bitsandbytes seems absent meanwhile, unless it was imported before, as it is for a 4-bit base."""
    modules: dict[str, Any] = sys.modules  # pyright: ignore
    with _ONE_AT_A_TIME:
        if "bitsandbytes" in modules:
            yield
            return
        modules["bitsandbytes"] = None  # an import of it fails
        _look_again()
        try:
            yield
        finally:
            if modules.get("bitsandbytes", 0) is None:
                del modules["bitsandbytes"]
            _look_again()


def _look_again() -> None:
    """peft remembers whether it found bitsandbytes."""
    known = sys.modules.get("peft.import_utils")
    for name in ("is_bnb_available", "is_bnb_4bit_available"):
        getattr(getattr(known, name, None), "cache_clear", lambda: None)()


class _Later:
    """bitsandbytes, imported when something of it is used."""

    def __getattr__(self, name: str) -> Any:
        return getattr(import_module("bitsandbytes"), name)


with without_bitsandbytes():
    import peft.helpers
    from peft import (
        LoraConfig,
        PeftConfig,
        PeftModel,
        get_peft_model,
        get_peft_model_state_dict,
        set_peft_model_state_dict,
    )
    from peft.tuners.lora.layer import Linear as LoraLinear
    from peft.utils import load_peft_weights

# The one name that would stay without bitsandbytes afterwards, for other users of peft in this process.
if getattr(peft.helpers, "bnb", 0) is None and find_spec("bitsandbytes"):
    peft.helpers.bnb = _Later()  # pyright: ignore

__all__ = [
    "LoraConfig",
    "LoraLinear",
    "PeftConfig",
    "PeftModel",
    "get_peft_model",
    "get_peft_model_state_dict",
    "load_peft_weights",
    "set_peft_model_state_dict",
    "without_bitsandbytes",
]
