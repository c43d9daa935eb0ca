/* What the tests of the tokenizer share. Each fails the running test by itself. */
#ifndef LV_TEST_TOK_KIT_H
#define LV_TEST_TOK_KIT_H

#include "tok/fake_gguf.h"
#include "tok/vocab.h"

enum { NORMAL = LV_TOK_NORMAL, UNKNOWN, CONTROL, USER, UNUSED, BYTE };

struct lv_tok *open_tok(const struct lv_gguf *g);
struct lv_tok_ids encode(const struct lv_tok *t, const struct lv_tok_span *span, size_t n_span, bool add_bos);
/* want: ids ended by -1. */
void check_ids(const struct lv_tok *t, const char *s, bool special, const int32_t *want);

#define CHECK_IDS(t, s, special, ...) check_ids((t), (s), (special), (const int32_t[]){ __VA_ARGS__, -1 })

/* Small vocabularies: bytes and "ab"; the SentencePiece one is listed at its definition. */
struct lv_gguf *fake_bpe(void);
struct lv_gguf *fake_spm(void);

#endif
