"""What a real run on the CPU takes, by torch's own means."""

from collections.abc import Callable, Collection
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile
from torch.utils import flop_counter

__all__ = ["allocated_peak", "counted_flops"]

aten = torch.ops.aten


def _attention(query: Any, key: Any, value: Any, *_: Any, **__: Any) -> int:
    return flop_counter.sdpa_flop_count(query, key, value)


def _attention_backward(out: Any, query: Any, key: Any, value: Any, *_: Any, **__: Any) -> int:
    return flop_counter.sdpa_backward_flop_count(out, query, key, value)


# torch's counter knows fused attention on GPUs only; the CPU's kernel does the same.
ATTENTION = {
    aten._scaled_dot_product_flash_attention_for_cpu: _attention,
    aten._scaled_dot_product_flash_attention_for_cpu_backward: _attention_backward,
}


def allocated_peak(run: Callable[[], object], mapped: Collection[int] = ()) -> int:
    """Most bytes that torch's CPU allocator gave at once while `run` ran.

    torch counts a file that is mapped, and not read, as given: those of the sizes `mapped` are
    left out.
    """
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        run()
    events = profiler.profiler.kineto_results.events()
    changes = sorted((e.start_ns(), e.nbytes()) for e in events if e.name() == "[memory]")
    changes = [(when, change) for when, change in changes if abs(change) not in mapped]
    held = peak = 0
    for _, change in changes:
        held += change
        peak = max(peak, held)
    return peak


def counted_flops(run: Callable[[], object]) -> int:
    """Floating-point operations by `FlopCounterMode`."""
    with flop_counter.FlopCounterMode(display=False, custom_mapping=ATTENTION) as counter:
        run()
    return counter.get_total_flops()
