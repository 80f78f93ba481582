"""All kinds of ugly input by what is expected in their place."""

from tests.contract import inputs, model_inputs

__all__ = ["KINDS"]

KINDS = {
    "place": inputs.PLACES,
    "damaged": inputs.DAMAGED,
    "rows": inputs.ROWS,
    "recipe": inputs.RECIPES,
    "model": model_inputs.MODELS,
    "sampled": model_inputs.MODELS_THAT_SAMPLE,
    "planned": model_inputs.PLANNED,
    "vae": model_inputs.AUTOENCODERS,
    "defaults": model_inputs.DEFAULTS,
    "lora": model_inputs.LORAS,
    "prompts": inputs.PROMPTS,
    "lines": inputs.PROMPT_LINES,
    "table": inputs.TABLES,
    "answers": inputs.ANSWERS,
    "database": inputs.DATABASES,
    "tar": inputs.TARS,
}
