"""What an exception means: one sample's failure, too large a batch, or the end of the process.

Out of memory is a fact about one batch. A device fault is everybody's, because a CUDA context that has failed once
fails for ever after. Whatever else goes wrong is the fault of the sample it went wrong in.
"""

from __future__ import annotations

import traceback

import torch

from darkroom.errors import DarkroomError, DeviceLost, Fatal, GenerationFailed, OutOfMemory
from darkroom.logs import get_logger

log = get_logger(__name__)

# PyTorch gives these a plain RuntimeError, so their text must tell them apart.
_OUT_OF_MEMORY_SIGNS = ("out of memory", "can't allocate memory", "not enough memory", "cublas_status_alloc_failed")
_DEVICE_FAULT_SIGNS = ("cuda error", "cublas_status_", "cudnn_status_", "cufft_", "device-side assert")
_FRAMES_LOGGED = 4
_REASON_CHARACTERS = 200


def is_out_of_memory(error: Exception) -> bool:
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(sign in str(error).lower() for sign in _OUT_OF_MEMORY_SIGNS)


def is_device_fault(error: Exception) -> bool:
    if is_out_of_memory(error):
        return False
    if isinstance(error, torch.AcceleratorError):
        return True
    return isinstance(error, RuntimeError) and any(sign in str(error).lower() for sign in _DEVICE_FAULT_SIGNS)


def raise_if_fatal(error: Exception) -> None:
    """Let through only what a single sample can have failed with."""
    if isinstance(error, Fatal):
        raise error
    if is_device_fault(error):
        said = str(error).partition("\n")[0][:_REASON_CHARACTERS]  # a driver's words, which know of no prompt
        raise DeviceLost(f"The accelerator failed, and the process must be replaced: {said}") from error


def as_failure(error: Exception) -> DarkroomError:
    """The error that a sample's future holds.

    It carries no cause: a traceback would keep the forward's tensors alive, and a library's message may quote the
    prompt.
    """
    if isinstance(error, DarkroomError):
        return error
    log.warning("sample_failed", error=type(error).__name__, frames=frames(error))
    if is_out_of_memory(error):
        return OutOfMemory()
    return GenerationFailed(f"the image could not be generated: {type(error).__name__}")


def frames(error: BaseException) -> list[str]:
    """The innermost places of a traceback, without messages or values: those may quote a prompt."""
    innermost = traceback.extract_tb(error.__traceback__)[-_FRAMES_LOGGED:]
    return [f"{frame.filename}:{frame.lineno} in {frame.name}" for frame in innermost]


def again(reason: Fatal) -> Fatal:
    """The same reason as a new exception: one object raised in many threads would mix up their tracebacks."""
    return type(reason)(reason.detail)
