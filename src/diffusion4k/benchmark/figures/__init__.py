"""The figures of the supplement, one file for each kind.

    side_by_side     same prompt, several models, marked patches (Fig. 7, 8), and the ablation (9)
    gallery          images with their prompts (10)
    variations       one prompt in several aspect ratios and seeds (11)
    spelled_text     images of prompts that ask for text, with what is read from them (12)
    reconstructions  photographs and their reconstructions by autoencoders (16)

Each has a function that returns the figure as a PIL image; `canvas.save_figure` writes it.
"""
