"""Tiny tokenizers, text encoders and autoencoders of the real classes, without any download."""

from diffusers import FluxTransformer2DModel
from tokenizers import Tokenizer
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import ByteLevel
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTokenizer,
    Gemma2Config,
    Gemma2Model,
    GemmaTokenizer,
    Mistral3Config,
    Mistral3ForConditionalGeneration,
    Mistral3Model,
    PreTrainedTokenizerFast,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2Tokenizer,
    Qwen3Config,
    Qwen3ForCausalLM,
    Qwen3Model,
    T5Config,
    T5EncoderModel,
    T5TokenizerFast,
)

from benchmarks.tiny import byte_alphabet

__all__ = [
    "WORDS",
    "tiny_clip_text",
    "tiny_flux_transformer",
    "tiny_gemma",
    "tiny_mistral",
    "tiny_qwen",
    "tiny_qwen_tokenizer",
    "tiny_qwen_vl",
    "tiny_t5",
]

WORDS = ("a", "red", "cat", "blurred", "photograph", "number")


def tiny_clip_text(tokenizer: CLIPTokenizer) -> CLIPTextModel:
    """CLIP without a projection, pooled output of width 16."""
    config = CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return CLIPTextModel(config).eval()


def tiny_flux_transformer(*, distilled: bool = True) -> FluxTransformer2DModel:
    """A block of either kind, of width 32; conditioning `(B, tokens, 64)` and pooled `(B, 16)`."""
    return FluxTransformer2DModel(
        in_channels=64,
        num_layers=1,
        num_single_layers=1,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=64,
        pooled_projection_dim=16,
        axes_dims_rope=(4, 4, 8),
        guidance_embeds=distilled,
    ).eval()


def tiny_t5() -> tuple[T5TokenizerFast, T5EncoderModel]:
    """T5's tokenizer on a few words, and an encoder of width 64."""
    special = ["<pad>", "</s>", "<unk>", *(f"<extra_id_{i}>" for i in range(100))]
    words = [*special, *(f"\u2581{word}" for word in WORDS)]
    config = T5Config(vocab_size=len(words), d_model=64, d_kv=8, d_ff=32, num_layers=1, num_heads=2)
    tokenizer = T5TokenizerFast(vocab=[(word, -1.0) for word in words])
    return tokenizer, T5EncoderModel(config).eval()


def tiny_gemma() -> tuple[GemmaTokenizer, Gemma2Model]:
    """Gemma's tokenizer on single characters, and a model of width 32."""
    special = ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>"]
    characters = ["\u2581", "\n", *map(chr, range(33, 127))]
    vocab = {token: number for number, token in enumerate([*special, *characters])}
    config = Gemma2Config(
        vocab_size=len(vocab),
        hidden_size=32,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=8,
        query_pre_attn_scalar=8,
        pad_token_id=0,
        eos_token_id=1,
        bos_token_id=2,
    )
    return GemmaTokenizer(vocab=vocab, merges=[]), Gemma2Model(config).eval()


def tiny_qwen_tokenizer() -> Qwen2Tokenizer:
    """Qwen's tokenizer on single bytes with a chat template."""
    tokens = [*sorted(byte_alphabet()), "<|endoftext|>"]
    tokenizer = Qwen2Tokenizer(
        vocab={token: number for number, token in enumerate(tokens)}, merges=[]
    )
    tokenizer.chat_template = (
        "{% for message in messages %}{{ message.role }}: {{ message.content }}\n{% endfor %}"
        "{% if add_generation_prompt %}assistant:{% endif %}"
    )
    return tokenizer


def tiny_qwen(
    kind: type[Qwen3Model] | type[Qwen3ForCausalLM] = Qwen3Model, *, layers: int = 3
) -> tuple[Qwen2Tokenizer, Qwen3Model | Qwen3ForCausalLM]:
    """Qwen's tokenizer, and a model of width 32."""
    tokenizer = tiny_qwen_tokenizer()
    config = Qwen3Config(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=32,
        num_hidden_layers=layers,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=16,
    )
    return tokenizer, kind(config).eval()


def tiny_qwen_vl() -> tuple[Qwen2Tokenizer, Qwen2_5_VLForConditionalGeneration]:
    """Qwen's tokenizer, and a model of width 32 that could read pictures, too."""
    tokenizer = tiny_qwen_tokenizer()
    config = Qwen2_5_VLConfig(
        text_config={
            "vocab_size": len(tokenizer),
            "hidden_size": 32,
            "intermediate_size": 32,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "num_key_value_heads": 1,
            "rope_parameters": {"rope_type": "default", "mrope_section": [2, 3, 3]},
        },
        vision_config={
            "depth": 1,
            "hidden_size": 16,
            "intermediate_size": 16,
            "num_heads": 2,
            "out_hidden_size": 32,
        },
        image_token_id=0,
        video_token_id=1,
        vision_start_token_id=2,
        vision_end_token_id=3,
    )
    return tokenizer, Qwen2_5_VLForConditionalGeneration(config).eval()


def tiny_mistral(
    kind: type[Mistral3Model]
    | type[Mistral3ForConditionalGeneration] = Mistral3ForConditionalGeneration,
    *,
    layers: int = 31,
) -> tuple[PreTrainedTokenizerFast, Mistral3Model | Mistral3ForConditionalGeneration]:
    """A tokenizer on single bytes with Mistral's marks, and a model of width 16.

    Its chat template takes messages of parts, as FLUX.2's stock pipeline writes them.
    """
    marks = ["<unk>", "<s>", "</s>", "<pad>", "[SYSTEM_PROMPT]", "[/SYSTEM_PROMPT]"]
    marks += ["[INST]", "[/INST]"]
    tokens = [*marks, *sorted(byte_alphabet())]
    inner = Tokenizer(BPE(vocab={t: number for number, t in enumerate(tokens)}, merges=[]))
    inner.pre_tokenizer = ByteLevel(add_prefix_space=False)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=inner,
        unk_token="<unk>",
        bos_token="<s>",
        eos_token="</s>",
        pad_token="<pad>",
        additional_special_tokens=marks[4:],
        padding_side="left",
    )
    tokenizer.chat_template = (
        "{{ bos_token }}{% for message in messages %}"
        "{% set text = message.content[0].text %}"
        "{% if message.role == 'system' %}[SYSTEM_PROMPT]{{ text }}[/SYSTEM_PROMPT]"
        "{% else %}[INST]{{ text }}[/INST]{% endif %}{% endfor %}"
    )
    config = Mistral3Config(
        text_config={
            "model_type": "mistral",
            "vocab_size": len(tokens),
            "hidden_size": 16,
            "intermediate_size": 16,
            "num_hidden_layers": layers,
            "num_attention_heads": 2,
            "num_key_value_heads": 1,
            "head_dim": 8,
        },
        vision_config={
            "model_type": "pixtral",
            "hidden_size": 16,
            "intermediate_size": 16,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "head_dim": 8,
            "image_size": 28,
            "patch_size": 14,
        },
        image_token_index=0,
    )
    return tokenizer, kind(config).eval()
