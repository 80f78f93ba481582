"""What every verb owes to input that is wrong: a line that names it, and nothing lost."""
