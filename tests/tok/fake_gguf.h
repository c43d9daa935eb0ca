/* A GGUF directory in memory, for tests that need a tokenizer without a file. The functions of
 * gguf.h that the tokenizer calls are defined in fake_gguf.c in place of the real ones. */
#ifndef LV_TEST_FAKE_GGUF_H
#define LV_TEST_FAKE_GGUF_H

#include "gguf/gguf.h"

#define FAKE_MAX_TOKEN 70000
#define FAKE_MAX_KEY 16

struct fake_key {
    const char *name;
    enum lv_gguf_kind kind;
    uint64_t num;
    const char *str;
};

struct lv_gguf {
    struct fake_key key[FAKE_MAX_KEY]; /* scalars */
    int n_key;
    /* tokenizer.ggml.tokens, token_type, scores and merges; strings are owned */
    char *token[FAKE_MAX_TOKEN], *merge[FAKE_MAX_TOKEN];
    size_t token_len[FAKE_MAX_TOKEN];
    int type[FAKE_MAX_TOKEN];
    double score[FAKE_MAX_TOKEN];
    uint64_t n_token, n_merge;
    uint64_t n_type, n_score; /* UINT64_MAX = as many as tokens */
    bool no_merges;
};

struct lv_gguf *fake_new(const char *model, const char *pre); /* pre may be NULL */
void fake_free(struct lv_gguf *g);
void fake_num(struct lv_gguf *g, const char *name, enum lv_gguf_kind kind, uint64_t num);
void fake_str(struct lv_gguf *g, const char *name, const char *str);
int32_t fake_token(struct lv_gguf *g, const char *s, int type, double score); /* returns the id */
int32_t fake_token_n(struct lv_gguf *g, const char *s, size_t len, int type, double score);
void fake_merge(struct lv_gguf *g, const char *left, const char *right);
/* 256 tokens of one byte, as byte-level BPE or SentencePiece writes them. */
void fake_bytes(struct lv_gguf *g, bool spm);
/* The byte as a character of the byte-level alphabet, at most two bytes and a NUL. */
void fake_map_byte(unsigned char b, char out[3]);

#endif
