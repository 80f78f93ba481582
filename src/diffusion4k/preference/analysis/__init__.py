"""What a preference study says: from files of answers to win rates, rankings and a report.

answers -> who paid attention -> one score per person, prompt, pair and question -> figures
"""
