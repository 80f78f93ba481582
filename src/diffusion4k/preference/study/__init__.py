"""Studies with people: which image is better, how good is a patch, what belongs in a dataset.

    YAML (config) -> what is shown (material) -> who sees what when (design, state)
      -> pages (app) -> rows that are only ever added (tables, store) -> dashboard, export, backup

One server process holds a study; what it has acknowledged is on the disk.
"""
