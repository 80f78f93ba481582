"""Direct 4K text-to-image synthesis: fine-tune with wavelets, sample, measure.

The package follows the road from photographs to a measured image:
`data` -> `training` -> `sampling` -> `metrics`, on the ground floor of `wavelet`, `objectives`
and `vae`, with all that differs between base models kept in `families`.

Importing this package is cheap: nothing heavy is loaded until a module that needs it is imported.
"""

__version__ = "0.1.0"

__all__ = ["__version__"]
