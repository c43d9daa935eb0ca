/* Internal to the schema: what schema.c and schema_tensors.c share. */
#ifndef LV_GGUF_SCHEMA_H
#define LV_GGUF_SCHEMA_H

#include "gguf/gguf.h"

/* Checks the tensors against the shape (n_vocab and tied are filled here; the rest is given). */
enum lever_status lv_schema_tensors(struct lv_shape *s, const struct lv_gguf *g, struct lever_error *err);

#endif
