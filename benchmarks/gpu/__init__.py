"""Proof on a real GPU: `python -m benchmarks.gpu`, or `make gpu-check`.

Every part runs in a process of its own and is recorded as soon as it is done: see `check`. Models
have their published configurations and random weights, drawn on the device: see `models`.
"""
