"""One client for OpenAI-compatible chat endpoints: GPT-4o, vLLM, Ollama and their like.

    settings -> Endpoint (one request) -> Sender (limits, budget, retries) -> Answer
    tasks -> LiveRun (many at a time) -> LedgerFile (paid answers, once)

What is asked and what is done with the answer is the caller's: captions, or a judgement.
"""
