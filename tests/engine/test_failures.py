"""What exceptions mean: too large a batch, a lost device, or one sample's failure."""

from __future__ import annotations

import pytest
import torch

from darkroom.errors import DeviceLost, EngineStopped, GenerationFailed, OutOfMemory, UnknownModel
from engine.failures import again, as_failure, is_device_fault, is_out_of_memory, raise_if_fatal

OUT_OF_MEMORY = [
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 1.50 GiB."),
    MemoryError(),
    RuntimeError("[enforce fail at alloc_cpu.cpp:117] DefaultCPUAllocator: can't allocate memory: you tried"),
    RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
]
DEVICE_FAULTS = [
    RuntimeError("CUDA error: an illegal memory access was encountered"),
    RuntimeError("CUDA error: device-side assert triggered"),
    RuntimeError("CUDA error: CUBLAS_STATUS_EXECUTION_FAILED when calling `cublasSgemm`"),
    RuntimeError("cuDNN error: CUDNN_STATUS_EXECUTION_FAILED"),
]
OWN_FAULTS = [
    ValueError("CUDA error"),
    RuntimeError("The size of tensor a (4) must match the size of tensor b (5)"),
    IndexError("index 21 is out of bounds"),
]


@pytest.mark.parametrize("error", OUT_OF_MEMORY, ids=str)
def test_out_of_memory_is_no_device_fault(error: Exception) -> None:
    assert is_out_of_memory(error)
    assert not is_device_fault(error)
    assert isinstance(as_failure(error), OutOfMemory)


@pytest.mark.parametrize("error", DEVICE_FAULTS, ids=str)
def test_a_device_fault_is_fatal(error: Exception) -> None:
    assert not is_out_of_memory(error)
    with pytest.raises(DeviceLost):
        raise_if_fatal(error)


@pytest.mark.parametrize("error", OWN_FAULTS, ids=str)
def test_any_other_error_is_the_samples_own(error: Exception) -> None:
    raise_if_fatal(error)

    assert type(as_failure(error)) is GenerationFailed


def test_a_failure_quotes_no_message_and_holds_no_tensor() -> None:
    with pytest.raises(ValueError, match="secret") as caught:
        int("a secret prompt")

    failure = as_failure(caught.value)

    assert "secret" not in str(failure)
    assert failure.__cause__ is None
    assert failure.__traceback__ is None


def test_an_error_of_darkrooms_own_is_kept() -> None:
    error = UnknownModel()

    assert as_failure(error) is error


def test_a_reason_given_again_is_equal_but_another_object() -> None:
    reason = EngineStopped("because")

    copy = again(reason)

    assert copy is not reason
    assert (type(copy), copy.detail) == (EngineStopped, "because")


def test_a_device_faults_reason_is_the_drivers_first_line() -> None:
    fault = RuntimeError("CUDA error: an illegal memory access was encountered\nCompile with TORCH_USE_CUDA_DSA")

    with pytest.raises(DeviceLost) as raised:
        raise_if_fatal(fault)

    assert raised.value.detail.endswith("must be replaced: CUDA error: an illegal memory access was encountered")
    assert again(raised.value).detail == raised.value.detail
