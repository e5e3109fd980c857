"""What the roles need of peft, without bitsandbytes where no base has 4 bits.

peft imports bitsandbytes wherever it is installed, at its own import and with the first adapter, and that imports PyTorch's
compiler: 3 seconds of every start.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def without_bitsandbytes(needed: bool = False) -> Iterator[None]:
    """bitsandbytes seems absent meanwhile, unless it is `needed` or imported already."""
    if needed or "bitsandbytes" in sys.modules:
        yield
        return
    modules: dict[str, Any] = sys.modules  # pyright: ignore  # None: such a module cannot be found
    modules["bitsandbytes"] = None
    _look_again()
    try:
        yield
    finally:
        del modules["bitsandbytes"]
        _look_again()


def _look_again() -> None:
    """peft remembers whether it found bitsandbytes."""
    if known := sys.modules.get("peft.import_utils"):
        known.is_bnb_available.cache_clear()
        known.is_bnb_4bit_available.cache_clear()


with without_bitsandbytes():
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
