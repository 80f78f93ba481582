"""Captions of photographs by a vision-language model behind an OpenAI-compatible endpoint.

pictures -> already in the ledger? -> live or as a batch -> flags -> ledger -> metadata.jsonl
"""
