<<<<<<< HEAD
<<<<<<< HEAD
"""From raw photographs to a curated, captioned dataset, and what is in one."""
=======
"""From raw photographs to a curated dataset."""
>>>>>>> duplicates
=======
"""From raw photographs to a curated, captioned dataset."""
>>>>>>> inspection
