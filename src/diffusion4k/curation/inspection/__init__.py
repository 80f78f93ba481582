"""Human inspection of candidates: a person looks at each and accepts or rejects it.

The paper's last filter: motion blur, missing focus and captions that do not fit are found by eye.
"""
