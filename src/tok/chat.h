/* Built-in chat formats, picked by recognising the file's template.
 *
 * A conversation becomes spans: bytes of the format (special tokens parsed) and bytes of the
 * messages (not parsed), so that user text cannot forge a turn. */
#ifndef LV_TOK_CHAT_H
#define LV_TOK_CHAT_H

#include "tok/tok.h"

struct lv_chat_format; /* one of a static table */

/* The format of this model: by its tokenizer.chat_template. NULL when the file has no template or
 * one that is not known; lv_chat_render then says so. */
const struct lv_chat_format *lv_chat_detect(const struct lv_gguf *g);
const char *lv_chat_name(const struct lv_chat_format *f); /* "chatml-qwen", "llama3", "gemma", ... */

struct lv_chat_text {
    char *bytes;              /* owned: format and message bytes in order */
    struct lv_tok_span *span; /* owned; point into bytes */
    size_t n_span, n_bytes;
};

/* Renders messages and the opening of the assistant's turn. Roles: "system", "user", "assistant", checked as the
 * template does (LEVER_E_ARG). f NULL: LEVER_E_MODEL, "no known chat template". The beginning token is printed where
 * the template prints one: encode the spans with add_bos false. On failure *out is empty. */
enum lever_status lv_chat_render(const struct lv_chat_format *f, const struct lever_message *msg, size_t n_msg,
                                 struct lv_chat_text *out, struct lever_error *err);
void lv_chat_text_deinit(struct lv_chat_text *t);

#endif
