"""A vision-language model as the judge of image pairs, as GPT-4o in Diffusion-4K.

models' folders -> pairs -> each in both orders -> ledger -> verdicts -> answers, summary
"""
