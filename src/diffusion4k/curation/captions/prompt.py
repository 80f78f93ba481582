"""The prompt with which the captions of Aesthetic-4K were written.

Diffusion-4K, supplement, Table 11, row "Image Caption", letter by letter as it is printed there,
typographic quotation marks included: these are part of the only text that is published.
"""

__all__ = ["PROMPT"]

PROMPT = (
    "Directly describe with brevity and as brief as possible the scene or characters without any "
    "introductory phrase like ‘This image shows’, ‘In the scene’, ‘This image depicts’ or similar "
    "phrases. Just start describing the scene please."
)
