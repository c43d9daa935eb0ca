/* Between the files of the tiny-model writer: bytes of weights and of the tokenizer.
 *
 * struct tiny_buf owns its bytes (tiny_buf_deinit); the first refused allocation sticks in `nomem`
 * and later puts do nothing. One thread. */
#ifndef REF_TINY_PART_H
#define REF_TINY_PART_H

#include "base/rng.h"
#include "ref/tiny.h"

struct tiny_buf {
    uint8_t *p;
    size_t n, cap;
    bool nomem;
};

void tiny_put(struct tiny_buf *b, const void *data, size_t n);
void tiny_put_u16(struct tiny_buf *b, uint16_t v);
void tiny_put_u32(struct tiny_buf *b, uint32_t v);
void tiny_put_u64(struct tiny_buf *b, uint64_t v);
void tiny_put_f32(struct tiny_buf *b, float v);
void tiny_put_str(struct tiny_buf *b, const char *s, size_t n); /* u64 length, then bytes */
void tiny_buf_deinit(struct tiny_buf *b);

/* Key headers: name and value type; the caller puts the value. Each counts one key in *n_key. */
void tiny_put_key(struct tiny_buf *b, uint32_t *n_key, const char *key, enum lv_gguf_kind kind);

/* Block length and bytes of a type; false for a number that is no type. */
bool tiny_block(enum lv_type type, uint32_t *len, uint32_t *bytes);

/* Where a row's numbers come from. */
struct tiny_draw {
    struct lv_rng weight, noise;
    float jitter; /* scales are multiplied by 1 + jitter * [-1, 1) from noise */
};

/* Appends a row of n weights of about N(0, sigma^2), drawn directly as blocks of the type.
 * n is a multiple of the block length. */
void tiny_put_row(struct tiny_buf *b, enum lv_type type, uint32_t n, float sigma, struct tiny_draw *r);

/* Appends the tokenizer.* keys. */
void tiny_put_tokenizer(struct tiny_buf *b, uint32_t *n_key, const struct tiny_spec *spec);

#endif
