/* The key table of one GGUF file: read, looked up, shown as text.
 *
 * Arrays are kept as the bytes of the file, one block each, so that memory stays close to the
 * header's size; string arrays have in addition the offset of every STRIDE-th element.
 *
 * owns     all keys, strings and arrays
 * borrows  path
 * threads  read-only after lv_keys_read, except lv_keys_text and lv_keys_drop_arrays */
#ifndef LV_GGUF_KEYS_H
#define LV_GGUF_KEYS_H

#include "gguf/cursor.h"
#include "gguf/gguf.h"
#include "gguf/strings.h"

#define LV_KEYS_MAX 16384u      /* keys of a file; files in use have about 30 */
#define LV_KEY_NAME_MAX 1024u   /* bytes */
#define LV_TEXT_MAX 384u        /* bytes of a value's text, with the NUL */

struct lv_array {
    enum lv_gguf_kind elem;
    uint64_t n;
    uint64_t bytes;
    uint8_t *data;   /* as in the file; NULL after lv_keys_drop_arrays */
    uint32_t *skip;  /* strings: offset in data of element i * STRIDE; else NULL */
};

struct lv_kv {
    const char *key; /* printable, no spaces */
    const char *text; /* shortened value, made on demand; or NULL */
    enum lv_gguf_kind kind;
    union {
        uint64_t u;        /* unsigned kinds, bool */
        int64_t i;         /* signed kinds */
        double f;          /* float kinds */
        struct lv_str str;
        struct lv_array array;
    } v;
};

struct lv_keys {
    const char *path;
    struct lv_kv *kv;             /* [n], in file order */
    const struct lv_kv **by_name; /* [n], sorted */
    uint32_t n;
    struct lv_strings strings;
};

/* Reads n key-value pairs. keys: all zero. On failure deinit frees what was read. */
enum lever_status lv_keys_read(struct lv_keys *keys, struct lv_cursor *c, uint64_t n);
void lv_keys_deinit(struct lv_keys *keys);
const struct lv_kv *lv_keys_find(const struct lv_keys *keys, const char *key); /* or NULL */

/* As lv_gguf_get_*. */
enum lever_status lv_keys_u64(const struct lv_keys *keys, const char *key, uint64_t *out, struct lever_error *err);
enum lever_status lv_keys_f64(const struct lv_keys *keys, const char *key, double *out, struct lever_error *err);
enum lever_status lv_keys_bool(const struct lv_keys *keys, const char *key, bool *out, struct lever_error *err);
enum lever_status lv_keys_str(const struct lv_keys *keys, const char *key, struct lv_str *out, struct lever_error *err);
enum lever_status lv_keys_array(const struct lv_keys *keys, const char *key, enum lv_gguf_kind *elem, uint64_t *n,
                                struct lever_error *err);
/* Element i; empty or 0 if there is none. */
struct lv_str lv_array_str(const struct lv_array *a, uint64_t i);
double lv_array_num(const struct lv_array *a, uint64_t i);
void lv_keys_drop_arrays(struct lv_keys *keys);

/* A printable name: n bytes into the set; NULL with an error kept when it is empty, too long or
 * holds anything but visible ASCII. */
const char *lv_name_read(struct lv_cursor *c, struct lv_strings *strings, uint64_t max_bytes);

/* ---- keytext.c ------------------------------------------------------------- */
const char *lv_kind_name(const struct lv_kv *kv); /* "u32", "array of string" */
/* The value as text of at most LV_TEXT_MAX - 1 bytes of UTF-8, kept in the table. */
const char *lv_keys_text(struct lv_keys *keys, uint32_t i);
/* A string for messages: quoted, escaped, shortened to fit cap bytes (>= 16). Returns buf. */
const char *lv_str_show(char *buf, size_t cap, struct lv_str s);

#endif
