"""Bytes and FLOPs on shapes against the profiler and the counter of torch on real tensors."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.measured import allocated_peak, counted_flops
from diffusion4k.accounting.computation import Autocast, FusedAttention
from diffusion4k.accounting.tracker import CostTracker, gpu_attention


class Network(nn.Module):
    """Something of everything: views, in-place, attention, convolution, norm."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(4, 128, 3, padding=1)
        self.norm = nn.LayerNorm(128)
        self.qkv = nn.Linear(128, 384)
        self.out = nn.Linear(128, 128)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x).flatten(2).transpose(1, 2)
        q, k, v = self.qkv(self.norm(x)).unflatten(-1, (3, 4, 32)).permute(2, 0, 3, 1, 4)
        x = x + self.out(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))
        return F.gelu(x).square_().mean()


def on_shapes(training: bool) -> CostTracker:
    with torch.device("meta"):
        network, image = Network(), torch.empty(2, 4, 40, 40)
    with CostTracker() as tracker, FusedAttention(), torch.set_grad_enabled(training):
        loss = network(image)
        if training:
            loss.backward()
    return tracker


def really(training: bool) -> tuple[int, int]:
    network, image = Network(), torch.randn(2, 4, 40, 40)

    def run() -> None:
        network.zero_grad()
        with torch.set_grad_enabled(training):
            loss = network(image)
            if training:
                loss.backward()

    run()  # Kernels that keep something keep it from now on.
    return allocated_peak(run), counted_flops(run)


@pytest.mark.parametrize("training", [False, True])
def test_peak_and_flops_are_the_real_ones(training: bool) -> None:
    tracker = on_shapes(training)
    peak, flops = really(training)
    assert tracker.flops == flops
    # Kernels take a little inside themselves: per-thread buffers of attention, sums of a norm.
    assert tracker.peak == pytest.approx(peak, rel=0.1)


def test_everything_that_is_made_is_given_back() -> None:
    tracker = on_shapes(training=False)
    assert tracker.total == 0 and tracker.peak > 0


def test_a_view_takes_nothing_and_keeps_its_storage() -> None:
    with CostTracker() as tracker:
        whole = torch.empty(100, device="meta")
        part = whole[:10]
        assert tracker.total == 400
        del whole
        assert tracker.total == 400
        del part
        assert tracker.total == 0


def test_parts_add_up_to_the_peak() -> None:
    weights = [torch.empty(10, device="meta")]
    with CostTracker() as tracker:
        tracker.hold("weights", weights)
        with tracker.as_part("optimizer"):
            moments = torch.empty(20, device="meta")
        activations = torch.empty(30, device="meta")
        tracker.hold("gradients", [activations])
    assert dict(tracker.held)["gradients"] == 120
    assert tracker.peak == sum(tracker.at_peak.values()) == 240
    assert moments.is_meta


def test_the_same_shapes_in_another_precision_are_another_result() -> None:
    with CostTracker():
        half = torch.empty(4, dtype=torch.bfloat16, device="meta")
        assert (half * 2.0).dtype == torch.bfloat16
        assert (half.float() * 2.0).dtype == torch.float32
        assert (torch.empty(4, dtype=torch.int64, device="meta") * 2).dtype == torch.int64
        assert (torch.empty(4, dtype=torch.int64, device="meta") * 2.0).dtype == torch.float32


@pytest.mark.parametrize("training", [False, True])
def test_autocast_is_the_real_one(training: bool) -> None:
    network, image = Network(), torch.randn(2, 4, 40, 40)

    def run() -> None:
        network.zero_grad()
        with torch.set_grad_enabled(training), torch.autocast("cpu", dtype=torch.bfloat16):
            loss = network(image)
        if training:
            loss.backward()

    with torch.device("meta"):
        shapes, empty = Network(), torch.empty(2, 4, 40, 40)
    autocast = Autocast(gpu=False)
    with CostTracker() as tracker, FusedAttention(), autocast, torch.set_grad_enabled(training):
        with autocast.forward():
            loss = shapes(empty)
        if training:
            loss.backward()
    # With AMX, the kernels of oneDNN take buffers of their own that no model of shapes knows.
    with torch.backends.mkldnn.flags(enabled=False):
        run()
        assert tracker.flops == counted_flops(run)
        assert tracker.peak == pytest.approx(allocated_peak(run), rel=0.15)


def test_the_backward_pass_of_attention_sums_in_float32_on_gpus() -> None:
    query = torch.empty(2, 24, 16_717, 64, device="meta")  # of Stable Diffusion 3 at 4096x4096
    assert gpu_attention(query) == 4 * 2 * 24 * 131 * 128 * (64 + 1)
    assert gpu_attention(query.new_empty(1, 1, 128, 72)) == 4 * 128 * (96 + 1)
    assert gpu_attention(query.new_empty(1, 1, 1, 160)) == 4 * 128 * (192 + 1)
    peaks = []
    for beside in (0, 10**9):
        with torch.device("meta"):
            network, image = Network(), torch.empty(2, 4, 40, 40)
        with CostTracker(attention=lambda _, n=beside: n) as tracker, FusedAttention():
            network(image).backward()
        peaks.append((tracker.peak, tracker.at_peak.get("workspace", 0)))
    (without, _), (peak, workspace) = peaks
    assert workspace == 10**9 and 10**9 < peak < 10**9 + without
