"""The native kernels against their peers on one machine: `python -m benchmarks.kernels`."""
