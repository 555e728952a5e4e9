"""llguidance, the library of grammars within llama.cpp's own library, asked about a grammar and a text.

llama.cpp only logs a grammar that it cannot read, or that becomes too complex, and then lets the model write anything.
The answers here come from the same code that runs the grammar, so both always agree.
"""

import ctypes
from functools import cache
from pathlib import Path

import xllamacpp

HEAD = "%llguidance {}\n"
"""The first line of a grammar for llguidance; other grammars are llama.cpp's own."""

SPACING = {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": "}
"""llguidance's options for the white space in JSON: a small model would write it until its tokens are used up."""

_BYTES = 256
_END = b"\xff<end>"
_MESSAGE_BYTES_MAX = 4096
_SETTINGS_BYTES = 1024
"""More than llguidance's settings take; it fills in its own defaults."""


class _Vocabulary(ctypes.Structure):
    """`LlgTokenizerInit` of llguidance's C interface."""

    _fields_ = (
        ("vocab_size", ctypes.c_uint32),
        ("tok_eos", ctypes.c_uint32),
        ("token_lens", ctypes.POINTER(ctypes.c_uint32)),
        ("token_bytes", ctypes.c_char_p),
        ("tokenizer_json", ctypes.c_char_p),
        ("tokenize_assumes_string", ctypes.c_bool),
        ("tokenize_fn", ctypes.c_void_p),
        ("use_approximate_greedy_tokenize_fn", ctypes.c_bool),
        ("tokenize_user_data", ctypes.c_void_p),
        ("slices", ctypes.c_void_p),
    )


def unreadable(grammar: str) -> str | None:
    """Return the reason for which llguidance cannot read a grammar, or None if it can; it takes milliseconds."""
    library, settings = _loaded()
    message = ctypes.create_string_buffer(_MESSAGE_BYTES_MAX)
    found = library.llg_validate_grammar(settings, b"lark", grammar.encode(), message, _MESSAGE_BYTES_MAX)
    if found >= 0:
        return None
    return message.value.decode(errors="replace").partition("compile JSON schema: ")[2].partition("\n")[0] or "unknown"


def follows(grammar: str, text: str, *, whole: bool) -> bool:
    """Tell whether a text follows a grammar, as a whole or as a beginning; it takes milliseconds."""
    library, settings = _loaded()
    content = text.encode()
    matcher = library.llg_new_matcher(settings, b"lark", grammar.encode())
    try:
        taken = library.llg_matcher_consume_tokens(matcher, (ctypes.c_uint32 * len(content))(*content), len(content))
        return taken == 0 and (not whole or bool(library.llg_matcher_is_accepting(matcher)))
    finally:
        library.llg_free_matcher(matcher)


@cache
def _loaded() -> tuple[ctypes.CDLL, "ctypes.Array[ctypes.c_char]"]:
    """Return the library, and its settings with a vocabulary of single bytes: a grammar is about text, not tokens."""
    (path,) = Path(xllamacpp.__file__).parent.glob("xllamacpp*.so")
    library = ctypes.CDLL(str(path))
    library.llg_new_tokenizer.restype = ctypes.c_void_p
    library.llg_new_tokenizer.argtypes = (ctypes.c_void_p, ctypes.c_char_p, ctypes.c_size_t)
    library.llg_constraint_init_set_defaults.argtypes = (ctypes.c_void_p, ctypes.c_void_p)
    library.llg_validate_grammar.argtypes = (
        ctypes.c_void_p,
        ctypes.c_char_p,
        ctypes.c_char_p,
        ctypes.c_char_p,
        ctypes.c_size_t,
    )
    library.llg_new_matcher.restype = ctypes.c_void_p
    library.llg_new_matcher.argtypes = (ctypes.c_void_p, ctypes.c_char_p, ctypes.c_char_p)
    library.llg_matcher_consume_tokens.argtypes = (ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t)
    library.llg_matcher_is_accepting.restype = ctypes.c_bool
    library.llg_matcher_is_accepting.argtypes = (ctypes.c_void_p,)
    library.llg_free_matcher.argtypes = (ctypes.c_void_p,)
    vocabulary = _Vocabulary(
        vocab_size=_BYTES + 1,
        tok_eos=_BYTES,
        token_lens=(ctypes.c_uint32 * (_BYTES + 1))(*([1] * _BYTES), len(_END)),
        token_bytes=bytes(range(_BYTES)) + _END,
        tokenize_assumes_string=True,
        use_approximate_greedy_tokenize_fn=True,
    )
    message = ctypes.create_string_buffer(_MESSAGE_BYTES_MAX)
    tokenizer = library.llg_new_tokenizer(ctypes.byref(vocabulary), message, _MESSAGE_BYTES_MAX)
    if not tokenizer:
        raise RuntimeError(f"llguidance takes no vocabulary: {message.value.decode(errors='replace')}")
    settings = ctypes.create_string_buffer(_SETTINGS_BYTES)
    library.llg_constraint_init_set_defaults(settings, tokenizer)
    return library, settings
