/* Writes GGUF files for tests, good ones and broken ones.
 *
 * A model is two lists, keys and tensors, that a test may change before the bytes are made. Nothing
 * is checked here: that is the point. Failures of the test's own machinery end the program.
 *
 * owns     names and values, until gb_free
 * threads  one at a time */
#ifndef TEST_GGUF_BUILD_H
#define TEST_GGUF_BUILD_H

#include <stddef.h>
#include <stdint.h>

#include "gguf/gguf.h"

struct gb_bytes {
    uint8_t *data;
    size_t n, cap;
};

void gb_put(struct gb_bytes *b, const void *data, size_t n);
void gb_put_uint(struct gb_bytes *b, uint64_t v, unsigned n_bytes); /* little-endian */
void gb_put_str(struct gb_bytes *b, const char *s);                 /* length and bytes */

struct gb_key {
    char *name;
    uint32_t kind;
    struct gb_bytes value; /* as in the file, behind the kind */
};

struct gb_tensor {
    char *name;
    uint32_t type, n_dim;
    uint64_t dim[4];
    uint64_t off; /* UINT64_MAX: behind the one before */
};

struct gb_model {
    uint32_t magic, version;
    uint64_t n_tensor_claimed, n_key_claimed; /* UINT64_MAX: the true number */
    uint32_t align;                           /* of the data; the key is up to the test */
    struct gb_key key[64];
    size_t n_key;
    struct gb_tensor tensor[64];
    size_t n_tensor;
    size_t header_bytes; /* set by gb_make: bytes before the padding */
};

void gb_init(struct gb_model *m); /* version 3, no keys, no tensors */
void gb_free(struct gb_model *m);

/* Set a key: replaces the value or appends. */
void gb_u32(struct gb_model *m, const char *name, uint32_t v);
void gb_f32(struct gb_model *m, const char *name, float v);
void gb_str(struct gb_model *m, const char *name, const char *v);
void gb_value(struct gb_model *m, const char *name, uint32_t kind, const void *bytes, size_t n);
void gb_array(struct gb_model *m, const char *name, uint32_t elem, uint64_t n_claimed, const void *bytes, size_t n);
void gb_strings(struct gb_model *m, const char *name, const char *const *v, size_t n);
void gb_append_key(struct gb_model *m, const char *name, uint32_t kind, const void *bytes, size_t n);
void gb_drop_key(struct gb_model *m, const char *name);

struct gb_tensor *gb_tensor(struct gb_model *m, const char *name, uint32_t type, uint64_t d0, uint64_t d1);
struct gb_tensor *gb_find(struct gb_model *m, const char *name); /* ends the program if there is none */
void gb_drop_tensor(struct gb_model *m, const char *name);

/* A small complete model of a family: 64 wide, feed-forward 96, 4 heads of length 16 over 2 key
 * heads, 8 tokens. Matrices are Q8_0. */
void gb_family(struct gb_model *m, enum lv_arch arch, uint32_t n_layer);

/* The file's bytes; data is pseudo-random. Free with gb_bytes_free. */
struct gb_bytes gb_make(struct gb_model *m);
void gb_bytes_free(struct gb_bytes *b);

/* A fresh folder for the program's files, removed with them at exit; and a path in it. */
const char *gb_folder(void);
void gb_path(char *out, size_t cap, const char *name);
void gb_save(const struct gb_bytes *b, const char *path);
void gb_write(struct gb_model *m, const char *path); /* make and save */

#endif
