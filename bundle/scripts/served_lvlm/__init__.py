"""A language model behind an OpenAI-compatible endpoint: vLLM, SGLang, `transformers serve`."""
