"""`selfsame` on two processes, the second of which is killed in its fourth step where torchrun starts it for the first time."""

from __future__ import annotations

import os
import signal
import sys
from typing import Any

from selfsame.cli import main
from selfsame.training.sft import SFTTrainer

if __name__ == "__main__":
    loss, calls = SFTTrainer.loss, []

    def dies(self: SFTTrainer, part: Any) -> Any:
        calls.append(part)
        made = loss(self, part)
        if len(calls) == 4 and os.environ["RANK"] == "1" and os.environ["TORCHELASTIC_RESTART_COUNT"] == "0":
            os.kill(os.getpid(), signal.SIGKILL)
        return made

    SFTTrainer.loss = dies
    sys.exit(main(sys.argv[1:]))
