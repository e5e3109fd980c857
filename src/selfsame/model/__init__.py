"""One frozen base model, its roles, and the batch in which replies share a prompt."""

import logging
import os

# Both must be set before the libraries that read them are imported, which the modules of this room do.
logging.getLogger("bitsandbytes").setLevel(logging.ERROR)  # it warns of kernels that it would like to download
os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # sums in a fixed order on GPUs
