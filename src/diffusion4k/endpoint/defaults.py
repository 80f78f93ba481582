"""What is asked of an endpoint, and how, unless a recipe or an option says otherwise.

Sections and options of commands take their defaults from here, without a library, as the command
line's help does.
"""

from typing import Final

URL = "https://api.openai.com/v1"
MODEL = "gpt-4o"
CONCURRENCY = 8
"""Requests under way at a time."""
TIMEOUT = 120.0
"""Seconds."""
RETRIES = 6
TRIES = 3
"""Answers to pay for, at most, when they cannot be used."""
OUTPUT_TOKENS = 200

LONGEST = 1536
"""Pixels of the longer side of a picture that is sent."""
QUALITY = 90
"""Quality of the JPEG that is sent."""
DETAIL: Final = "high"

CAPTION_WORDS = 80
"""A longer caption is flagged; those of Aesthetic-4K have about 25 words."""

JUDGE_QUALITY = 95
JUDGE_TOKENS = 500
"""Output tokens that three verdicts with their reasons surely fit in; GPT-4o takes about 200."""
PATCH_SIDE = 768
"""Pixels; GPT-4o sees 768 pixels of the shorter side, so such a patch loses nothing."""
