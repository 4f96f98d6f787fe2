"""`python model.py PATH`: generate a tiny llama model with random weights, in the server's environment."""

import sys
from collections.abc import Iterator

import numpy  # type: ignore[import-not-found] # comes with the server
from gguf import GGUFWriter, PoolingType, TokenType  # type: ignore[import-not-found] # comes with the server

WIDTH, HIDDEN, HEADS, LAYERS, CONTEXT = 64, 128, 4, 2, 2048
CONTROL = ["<unk>", "<s>", "</s>"]
LETTERS = "\u2581etaoinshrdlucmfwypvbgkjqxz:.,\n"
WORDS = ["\u2581the", "\u2581a", "\u2581of", "\u2581and", "\u2581sea", "\u2581wind", "user", "assistant", "system"]
TEMPLATE = "{% for message in messages %}{{ message.role }}: {{ message.content }}\n{% endfor %}assistant:"


def vocabulary() -> Iterator[tuple[str, float, int]]:
    """Every token with its score and type: control tokens, each byte, and a few letters and words."""
    yield from ((token, 0.0, int(TokenType.CONTROL)) for token in CONTROL)
    yield from ((f"<0x{byte:02X}>", -1000.0, int(TokenType.BYTE)) for byte in range(256))
    for at, word in enumerate([*WORDS, *LETTERS]):
        yield word, -float(at), int(TokenType.NORMAL)


def write(path: str) -> None:
    """Write the model; the file is the same every time."""
    writer = GGUFWriter(path, "llama")
    tokens = list(vocabulary())
    _describe(writer, tokens)
    _fill(writer, len(tokens))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _describe(writer: GGUFWriter, tokens: list[tuple[str, float, int]]) -> None:
    writer.add_name("tiny")
    writer.add_context_length(CONTEXT)
    writer.add_embedding_length(WIDTH)
    writer.add_block_count(LAYERS)
    writer.add_feed_forward_length(HIDDEN)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(WIDTH // HEADS)
    writer.add_pooling_type(PoolingType.MEAN)
    writer.add_tokenizer_model("llama")
    writer.add_token_list([token.encode() for token, _, _ in tokens])
    writer.add_token_scores([score for _, score, _ in tokens])
    writer.add_token_types([kind for _, _, kind in tokens])
    writer.add_vocab_size(len(tokens))
    writer.add_unk_token_id(0)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_chat_template(TEMPLATE)


def _fill(writer: GGUFWriter, words: int) -> None:
    rng = numpy.random.default_rng(7)
    shapes = {"token_embd": (words, WIDTH), "output": (words, WIDTH), "output_norm": (WIDTH,)}
    for layer in range(LAYERS):
        block = {"attn_norm": (WIDTH,), "ffn_norm": (WIDTH,), "ffn_down": (WIDTH, HIDDEN)}
        block |= dict.fromkeys(("attn_q", "attn_k", "attn_v", "attn_output"), (WIDTH, WIDTH))
        block |= dict.fromkeys(("ffn_gate", "ffn_up"), (HIDDEN, WIDTH))
        shapes |= {f"blk.{layer}.{name}": shape for name, shape in block.items()}
    for name, shape in shapes.items():
        values = numpy.ones(shape) if name.endswith("norm") else rng.normal(0, 0.3, shape)
        writer.add_tensor(f"{name}.weight", values.astype(numpy.float32))


if __name__ == "__main__":
    write(sys.argv[1])
