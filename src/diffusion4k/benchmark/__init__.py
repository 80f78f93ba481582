"""Models measured on pictures: runs, tables and figures."""
