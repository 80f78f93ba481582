"""Local web pages: what the inspection of a dataset and the preference study have in common.

A page is plain HTML, CSS and one ES module that come with the package; it loads nothing from
anywhere else. Needs the extra `web`.
"""
