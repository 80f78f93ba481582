"""What the parts import; the server of processes imports it once."""

import benchmarks.gpu.equality
import benchmarks.gpu.plans
import benchmarks.gpu.sampling
import benchmarks.gpu.training  # noqa: F401
