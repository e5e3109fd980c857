"""What the roles need of peft, imported without bitsandbytes.

peft imports bitsandbytes wherever it is installed, and that imports PyTorch's compiler: 3 seconds of every start, for 4-bit
bases alone. While peft is imported bitsandbytes seems absent; afterwards it is found when a 4-bit base asks for it.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def _without_bitsandbytes() -> Iterator[None]:
    if "bitsandbytes" in sys.modules:
        yield
        return
    modules: dict[str, Any] = sys.modules  # pyright: ignore  # None: such a module cannot be found
    modules["bitsandbytes"] = None
    try:
        yield
    finally:
        del modules["bitsandbytes"]


with _without_bitsandbytes():
    from peft import (
        LoraConfig,
        PeftConfig,
        PeftModel,
        get_peft_model,
        get_peft_model_state_dict,
        set_peft_model_state_dict,
    )
    from peft.import_utils import is_bnb_4bit_available, is_bnb_available
    from peft.tuners.lora.layer import Linear as LoraLinear
    from peft.utils import load_peft_weights

for _known in (is_bnb_available, is_bnb_4bit_available):
    _known.cache_clear()

__all__ = [
    "LoraConfig",
    "LoraLinear",
    "PeftConfig",
    "PeftModel",
    "get_peft_model",
    "get_peft_model_state_dict",
    "load_peft_weights",
    "set_peft_model_state_dict",
]
