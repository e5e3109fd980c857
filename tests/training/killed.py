"""`selfsame` on two processes, the second of which is killed in its fourth step where torchrun starts it for the first time.

The other takes so long to leave that torchrun's SIGTERM finds it on the way.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from typing import Any

from selfsame.cli import main
from selfsame.run.logger import RunLogger
from selfsame.training.sft import SFTTrainer

if __name__ == "__main__":
    loss, close, calls = SFTTrainer.loss, RunLogger.close, []
    first_time = os.environ["TORCHELASTIC_RESTART_COUNT"] == "0"

    def dies(self: SFTTrainer, part: Any) -> Any:
        calls.append(part)
        made = loss(self, part)
        if len(calls) == 4 and os.environ["RANK"] == "1" and first_time:
            os.kill(os.getpid(), signal.SIGKILL)
        return made

    def slowly(self: RunLogger) -> None:
        close(self)
        if first_time:
            time.sleep(3)

    SFTTrainer.loss, RunLogger.close = dies, slowly
    sys.exit(main(sys.argv[1:]))
