"""Human inspection of candidates: a person accepts or rejects each.

The paper's last filter: motion blur, missing focus and captions that do not fit are found by eye.
"""
