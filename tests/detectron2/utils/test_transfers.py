"""Copies between processor and GPU. What a GPU adds is shown on tests/simulated_cuda."""

from __future__ import annotations

import copy

import torch

from detectron2.utils.transfers import host_copies, host_copy, keep_host_copy, to_device

META = torch.device("meta")  # a device that is not the processor, whose content cannot be fetched


def test_the_processors_tensors_are_taken_as_they_are() -> None:
    tensor = torch.ones(2, requires_grad=True)
    (same,) = host_copies([tensor])
    assert same.data_ptr() == tensor.data_ptr()
    assert not same.requires_grad
    assert host_copies([]) == []
    assert host_copy(tensor).data_ptr() == tensor.data_ptr()
    assert to_device(tensor, torch.device("cpu")) is tensor


def test_a_copy_is_kept_until_the_tensor_changes(monkeypatch) -> None:
    fetched = torch.full((3,), 7.0)
    monkeypatch.setattr(torch.Tensor, "cpu", lambda _: fetched)
    tensor, kept = torch.zeros(3, device=META), torch.arange(3.0)
    assert host_copy(tensor) is fetched
    keep_host_copy(tensor, kept)
    assert host_copy(tensor) is kept
    tensor.add_(1)
    assert host_copy(tensor) is fetched


def test_a_deep_copy_of_what_has_changed_is_fetched(monkeypatch) -> None:
    """It has the kept copy too, while its changes are counted from 0."""
    fetched = torch.full((3,), 7.0)
    monkeypatch.setattr(torch.Tensor, "cpu", lambda _: fetched)
    monkeypatch.setattr(torch.Tensor, "data_ptr", lambda tensor: id(tensor))  # that of this device is 0
    tensor = torch.zeros(3, device=META)
    keep_host_copy(tensor, torch.arange(3.0))
    tensor.add_(1)
    assert host_copy(copy.deepcopy(tensor)) is fetched


def test_tensors_of_all_types_and_shapes_are_fetched_together(monkeypatch) -> None:
    wanted = [
        torch.tensor([True, False, True]),
        torch.arange(6.0).reshape(2, 3).t(),
        torch.tensor(2**40 + 1),
        torch.zeros(0, 4),
        torch.tensor([-1], dtype=torch.int8),
    ]
    on_device = [one.to(META) for one in wanted]
    as_bytes = [one.contiguous().flatten().view(torch.uint8) for one in wanted]
    monkeypatch.setattr(torch.Tensor, "cpu", lambda _: torch.cat(as_bytes))
    here = torch.ones(2)
    found = host_copies([on_device[0], here, *on_device[1:]])
    torch.testing.assert_close(found, [wanted[0], here, *wanted[1:]], rtol=0, atol=0)
