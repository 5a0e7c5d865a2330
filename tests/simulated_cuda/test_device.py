"""The simulated device itself: planted mistakes are found, what CUDA allows passes, what waits is counted."""

from __future__ import annotations

import copy
import io
import multiprocessing
import os
from multiprocessing.reduction import ForkingPickler

import cv2
import numpy as np
import pytest
import torch
from pycocotools import mask as coco_mask
from torch import nn
from torch.nn import functional

from detectron2.modeling.matcher import Matcher
from tests.simulated_cuda.device import live_bytes
from tests.simulated_cuda.torch_cuda import simulated_cuda

HOST = torch.arange(6.0).view(2, 3)

# What must raise; `gpu` is HOST on the GPU, `row` holds indices 1, 0 there.
MISTAKES = {
    "sum of both": lambda gpu, row: HOST + gpu,
    "sum into the GPU": lambda gpu, row: gpu.add_(HOST),
    "sum into a CPU number": lambda gpu, row: torch.tensor(0.0).add_(gpu.sum()),
    "GPU number and CPU tensor": lambda gpu, row: gpu.sum() + HOST,
    "cat": lambda gpu, row: torch.cat([HOST, gpu]),
    "stack of a CPU number": lambda gpu, row: torch.stack([gpu.sum(), torch.tensor(1.0)]),
    "product": lambda gpu, row: gpu @ HOST.T,
    "where": lambda gpu, row: torch.where(gpu > 1, gpu, HOST),
    "layer left on the CPU": lambda gpu, row: nn.Linear(3, 2)(gpu),
    "convolution": lambda gpu, row: functional.conv2d(gpu[None, None], torch.ones(1, 1, 2, 2)),
    "nms": lambda gpu, row: torch.ops.torchvision.nms(torch.rand(2, 4, device="cuda"), torch.rand(2), 0.5),
    "gradient of a CPU tensor": lambda gpu, row: (torch.ones(2, 3, requires_grad=True) * gpu).sum().backward(),
    "GPU index of a CPU tensor": lambda gpu, row: HOST[row],
    "GPU mask of a CPU tensor": lambda gpu, row: HOST[gpu[:, 0] > 1],
    "CPU values into a GPU tensor": lambda gpu, row: gpu.index_put_((row,), HOST),
    "gather by a CPU index": lambda gpu, row: gpu.gather(1, torch.zeros(2, 1, dtype=torch.long)),
    "index_select by a CPU index": lambda gpu, row: gpu.index_select(0, torch.tensor([1])),
    "numpy": lambda gpu, row: gpu.numpy(),
    "asarray": lambda gpu, row: np.asarray(gpu),
    "concatenate of numpy": lambda gpu, row: np.concatenate([gpu, HOST]),
    "from_numpy": lambda gpu, row: torch.from_numpy(gpu),
    "pycocotools": lambda gpu, row: coco_mask.encode(gpu.bool()),
    "OpenCV": lambda gpu, row: cv2.resize(gpu, (2, 2)),
    "CPU generator": lambda gpu, row: gpu.random_(generator=torch.Generator()),
    "GPU generator": lambda gpu, row: HOST.clone().random_(generator=torch.Generator(device="cuda")),
    "default generator": lambda gpu, row: torch.randperm(4, device="cuda", generator=torch.default_generator),
    "state of the generator on the GPU": lambda gpu, row: torch.cuda.set_rng_state(torch.cuda.get_rng_state().cuda()),
    "sent to a process": lambda gpu, row: ForkingPickler.dumps(gpu),
    "pinned": lambda gpu, row: gpu.pin_memory(),
    "float16 and float32": lambda gpu, row: gpu.half() @ gpu.T,
}
# Each waits once.
WAITING = {
    "item": lambda gpu: gpu.sum().item(),
    "tolist": lambda gpu: gpu.tolist(),
    "bool": lambda gpu: bool(gpu.sum() > 0),
    "int": lambda gpu: int(gpu.sum()),
    "cpu": lambda gpu: gpu.cpu(),
    "copy_": lambda gpu: HOST.clone().copy_(gpu),
    "nonzero": lambda gpu: gpu.nonzero(),
    "where": lambda gpu: torch.where(gpu > 1),
    "booleans": lambda gpu: gpu[gpu > 1],
    "booleans, filled with a tensor": lambda gpu: gpu.clone().index_put_((gpu > 3,), torch.ones(2, device="cuda")),
    "unique": lambda gpu: gpu.unique(),
    "list as index": lambda gpu: gpu[[0, 1]],
    "CPU index": lambda gpu: gpu[torch.tensor([1])],
    "tensor": lambda gpu: torch.tensor([1.0], device="cuda"),
    "as_tensor": lambda gpu: torch.as_tensor(3.0, device="cuda"),
    "new_tensor": lambda gpu: gpu.new_tensor([1.0]),
    "pageable": lambda gpu: HOST.to("cuda"),
    "pinned, but waiting": lambda gpu: HOST.pin_memory().to("cuda"),
    "synchronize": lambda gpu: torch.cuda.synchronize(),
    "event": lambda gpu: torch.cuda.Event().synchronize(),
    "save": lambda gpu: torch.save(gpu, io.BytesIO()),
    "nms": lambda gpu: torch.ops.torchvision.nms(gpu.new_ones(2, 4), gpu.new_ones(2), 0.5),
}
# None waits.
FREE = {
    "full": lambda gpu: torch.full((), 3.0, device="cuda"),
    "arange": lambda gpu: torch.arange(4, device="cuda"),
    "masked_fill": lambda gpu: gpu.masked_fill(gpu > 1, torch.tensor(0.0)),
    "booleans, filled with a number": lambda gpu: gpu.clone().__setitem__(gpu > 1, 0.0),
    "slice": lambda gpu: gpu[:, 1:],
    "GPU index": lambda gpu: gpu[torch.zeros(3, dtype=torch.long, device="cuda")],
    "CPU number": lambda gpu: gpu + torch.tensor(2.0),
    "sort": lambda gpu: gpu.sort(),
    "length": lambda gpu: len(gpu),
    "pinned": lambda gpu: HOST.pin_memory().to("cuda", non_blocking=True),
    "made pinned": lambda gpu: torch.empty(3, pin_memory=True).is_pinned() or pytest.fail(),
    "clip_grad": lambda gpu: nn.utils.clip_grad_norm_([nn.Parameter(gpu)], 1.0),
}


@pytest.fixture
def gpu(cuda):
    return HOST.to("cuda")


def test_mistakes_are_found(gpu):
    row, missed = torch.tensor([1, 0], device="cuda"), []
    for name, mistake in MISTAKES.items():
        try:
            mistake(gpu.clone(), row)
            missed.append(name)
        except (RuntimeError, TypeError, ValueError, cv2.error):
            continue
    assert not missed


def test_what_waits_is_counted(cuda, gpu):
    counted = {}
    for name, used in {**WAITING, **FREE}.items():
        cuda.reset()
        used(gpu)
        counted[name] = cuda.synchronisations
    assert counted == {**dict.fromkeys(WAITING, 1), **dict.fromkeys(FREE, 0)}


def test_lines_are_named(cuda, gpu):
    cuda.reset()
    gpu.sum().item()
    ((place, kind),) = cuda.waits
    assert place.startswith("tests/simulated_cuda/test_device.py:")
    assert kind == "_local_scalar_dense"
    assert cuda.operations == 1


def test_a_copy_that_is_not_awaited_holds_nonsense(gpu):
    copied = gpu.to("cpu", non_blocking=True)
    assert copied.isnan().all()
    torch.cuda.current_stream().synchronize()
    assert copied.equal(HOST)


def test_training_is_that_of_the_processor(cuda):
    torch.manual_seed(0)
    layers = nn.Sequential(nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3), nn.ReLU(inplace=True), nn.Flatten(), nn.LazyLinear(4))
    layers(torch.rand(2, 2, 8, 8))
    others, batch = copy.deepcopy(layers).to("cuda"), torch.rand(2, 2, 8, 8)
    assert all(isinstance(one, nn.Parameter) and one.is_cuda for one in others.parameters())
    for network, inputs in ((layers, batch), (others, batch.to("cuda"))):
        optimizer = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9)
        for _ in range(2):
            optimizer.zero_grad()
            network(inputs).square().sum().backward()
            optimizer.step()
    for one, other in zip(layers.state_dict().values(), copy.deepcopy(others).state_dict().values(), strict=True):
        assert torch.allclose(one, other.cpu(), atol=1e-5)


def test_mixed_precision(cuda):
    layer = nn.Linear(3, 2).to("cuda")
    with torch.autocast("cuda", dtype=torch.float16):
        found = layer(torch.rand(4, 3, device="cuda"))
    assert found.dtype == torch.float16
    scaler = torch.amp.GradScaler("cuda")
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.1)
    scaler.scale(found.float().mean()).backward()
    scaler.step(optimizer)
    scaler.update()
    assert layer.weight.grad.abs().max() < 10


def test_changes_through_data_are_not_counted(gpu):
    gpu.data.mul_(2)
    assert (gpu._version, gpu.tolist()) == (0, (HOST * 2).tolist())
    gpu.detach().mul_(2)
    assert gpu._version == 1


def test_generators_of_the_device_repeat(cuda):
    torch.manual_seed(3)
    state, first = torch.cuda.get_rng_state(), torch.rand(4, device="cuda").tolist()
    torch.rand(4)
    torch.cuda.set_rng_state(state)
    assert torch.rand(4, device="cuda").tolist() == first


def test_memory(cuda, gpu):
    shortage = cuda.run_out_of_memory("aten::mul", "test_device.py", after=1, times=1)
    before = live_bytes()
    kept = gpu * 2
    assert live_bytes() == before + 24
    with pytest.raises(torch.cuda.OutOfMemoryError):
        kept * 2
    kept * 2
    assert len(shortage.raised) == 1


def test_not_in_a_forked_process(gpu):
    context = multiprocessing.get_context("fork")
    process = context.Process(target=_use, args=(gpu.content,))
    process.start()
    process.join()
    assert process.exitcode == 7


def _use(content):
    try:
        content.to("cuda")
    except RuntimeError as error:
        os._exit(7 if "forked" in str(error) else 1)


def test_a_mistake_in_the_product_is_found(cuda, monkeypatch):
    """One planted into the matcher, as its caller finds it."""
    found = Matcher.__call__
    quality, truth = torch.rand(2, 5, device="cuda"), torch.rand(2, 4, device="cuda")
    monkeypatch.setattr(Matcher, "__call__", lambda self, quality: tuple(one.cpu() for one in found(self, quality)))
    matches, _ = Matcher([0.5], [0, 1])(quality)
    with pytest.raises(RuntimeError, match="at least two devices"):
        truth.index_select(0, matches)


def test_afterwards_there_is_no_device():
    before = torch.cuda.is_available()
    with simulated_cuda((7, 5)):
        assert torch.cuda.is_available()
        assert not torch.cuda.is_bf16_supported()
    assert torch.cuda.is_available() == before
    weights = torch.rand(3, requires_grad=True)
    (weights * 2).sum().backward()
    assert weights.grad.device.type == "cpu"
