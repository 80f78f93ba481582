"""Counting loops, compiled by numba."""
