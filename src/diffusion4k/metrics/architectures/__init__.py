"""Networks of metrics as torch modules, written out: they are imported when one is loaded."""
