/* The tiny tokenizer: byte-level BPE with 256 byte tokens, merges, three control tokens.
 *
 *   ids      0 .. 255                  byte tokens, in byte order
 *            256 .. n_vocab - 4        one token for each merge, in merge order
 *            n_vocab - 3 .. - 1        <|endoftext|> (bos)  <|im_start|>  <|im_end|> (eos)
 *
 * Merges build the words below letter by letter, so that ordinary English shortens; then all pairs of
 * small letters, then all threes, until the vocabulary is full. */
#include <string.h>

#include "base/mem.h"
#include "ref/tiny_part.h"

const char tiny_chatml[] =
    "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}"
    "{{ '<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n' }}"
    "{% endif %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}";

static const char *const word_list[] = {
    " the", " and", " of", " to", " in", " is", " that", " for", "ing", "tion", "user", "assistant", "system",
    " lever", " one", " are", " it", "er", "es", "ed", "\n\n", "  ", "    ", "12", "20",
};

static const char *const control_list[3] = { "<|endoftext|>", "<|im_start|>", "<|im_end|>" };

#define MAX_PIECE 12 /* characters of the longest word above */

struct piece {
    uint8_t byte[MAX_PIECE];
    uint32_t n;
};

struct merge {
    struct piece left, whole;
};

/* GPT-2's alphabet: printable Latin-1 bytes stand for themselves, the other 68 for U+0100 and up. */
static uint32_t code_of_byte(uint32_t byte)
{
    uint32_t n_before = 0;

    for (uint32_t c = 0; c <= byte; c++) {
        const bool plain = (c >= 0x21 && c <= 0x7e) || (c >= 0xa1 && c <= 0xac) || c >= 0xae;

        if (c == byte)
            return plain ? c : 0x100 + n_before;
        n_before += !plain;
    }
    return 0;
}

static size_t spell(char *out, const uint8_t *byte, uint32_t n)
{
    size_t len = 0;

    for (uint32_t i = 0; i < n; i++) {
        const uint32_t c = code_of_byte(byte[i]);

        if (c < 0x80) {
            out[len++] = (char)c;
        } else {
            out[len++] = (char)(0xc0 | c >> 6);
            out[len++] = (char)(0x80 | (c & 63));
        }
    }
    return len;
}

static void add_merge(struct merge *list, uint32_t *n, uint32_t cap, const uint8_t *byte, uint32_t n_byte)
{
    struct merge *m = &list[*n];

    if (*n == cap)
        return;
    for (uint32_t i = 0; i < *n; i++)
        if (list[i].whole.n == n_byte && memcmp(list[i].whole.byte, byte, n_byte) == 0)
            return;
    memcpy(m->whole.byte, byte, n_byte);
    memcpy(m->left.byte, byte, n_byte - 1);
    m->whole.n = n_byte;
    m->left.n = n_byte - 1;
    *n += 1;
}

static uint32_t make_merges(struct merge *list, uint32_t cap)
{
    uint32_t n = 0;

    for (size_t w = 0; w < sizeof word_list / sizeof word_list[0]; w++)
        for (uint32_t len = 2; len <= strlen(word_list[w]); len++)
            add_merge(list, &n, cap, (const uint8_t *)word_list[w], len);
    for (uint32_t len = 2; len <= 3; len++)
        for (uint32_t i = 0; i < (len == 2 ? 676u : 17576u) && n < cap; i++) {
            const uint8_t s[3] = { (uint8_t)('a' + i % 26), (uint8_t)('a' + i / 26 % 26), (uint8_t)('a' + i / 676) };

            add_merge(list, &n, cap, s, len);
        }
    return n;
}

static void put_array(struct tiny_buf *b, uint32_t *n_key, const char *key, enum lv_gguf_kind elem, uint64_t n)
{
    tiny_put_key(b, n_key, key, LV_GGUF_ARRAY);
    tiny_put_u32(b, elem);
    tiny_put_u64(b, n);
}

static void put_text(struct tiny_buf *b, uint32_t *n_key, const char *key, const char *s)
{
    tiny_put_key(b, n_key, key, LV_GGUF_STRING);
    tiny_put_str(b, s, strlen(s));
}

void tiny_put_tokenizer(struct tiny_buf *b, uint32_t *n_key, const struct tiny_spec *spec)
{
    const uint32_t cap = spec->n_vocab - 256 - 3;
    struct merge *list = lv_alloc_zero(cap + 1, sizeof *list);
    const uint32_t n_merge = list ? make_merges(list, cap) : 0;
    char text[4 * MAX_PIECE + 4];
    size_t len;

    if (!list) {
        b->nomem = true;
        return;
    }
    put_text(b, n_key, "tokenizer.ggml.model", "gpt2");
    put_text(b, n_key, "tokenizer.ggml.pre", spec->pre);
    put_array(b, n_key, "tokenizer.ggml.tokens", LV_GGUF_STRING, 256 + n_merge + 3);
    for (uint32_t c = 0; c < 256; c++) {
        const uint8_t byte = (uint8_t)c;

        len = spell(text, &byte, 1);
        tiny_put_str(b, text, len);
    }
    for (uint32_t i = 0; i < n_merge; i++) {
        len = spell(text, list[i].whole.byte, list[i].whole.n);
        tiny_put_str(b, text, len);
    }
    for (int i = 0; i < 3; i++)
        tiny_put_str(b, control_list[i], strlen(control_list[i]));
    put_array(b, n_key, "tokenizer.ggml.token_type", LV_GGUF_I32, 256 + n_merge + 3);
    for (uint32_t i = 0; i < 256 + n_merge + 3; i++)
        tiny_put_u32(b, i < 256 + n_merge ? 1 : 3); /* normal, control */
    put_array(b, n_key, "tokenizer.ggml.merges", LV_GGUF_STRING, n_merge);
    for (uint32_t i = 0; i < n_merge; i++) {
        len = spell(text, list[i].left.byte, list[i].left.n);
        text[len++] = ' ';
        len += spell(text + len, list[i].whole.byte + list[i].left.n, 1);
        tiny_put_str(b, text, len);
    }
    tiny_put_key(b, n_key, "tokenizer.ggml.bos_token_id", LV_GGUF_U32);
    tiny_put_u32(b, (uint32_t)tiny_bos(spec->n_vocab));
    tiny_put_key(b, n_key, "tokenizer.ggml.eos_token_id", LV_GGUF_U32);
    tiny_put_u32(b, (uint32_t)tiny_eos(spec->n_vocab));
    tiny_put_key(b, n_key, "tokenizer.ggml.add_bos_token", LV_GGUF_BOOL);
    tiny_put(b, spec->add_bos ? "\1" : "\0", 1);
    if (spec->chat_template)
        put_text(b, n_key, "tokenizer.chat_template", spec->chat_template);
    lv_free(list);
}
