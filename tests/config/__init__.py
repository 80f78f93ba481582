"""Tests of `diffusion4k.config`."""
