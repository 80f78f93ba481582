"""Paths that would lead out of the folder of static files, were they followed."""

OUT_OF_STATIC = (
    "/static/../app.py",
    "/static/..%2fapp.py",
    "/static/%2e%2e/app.py",
    "/static//etc/passwd",
)
