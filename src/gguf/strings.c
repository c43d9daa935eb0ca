#include "gguf/strings.h"

#include "base/mem.h"

/* Pieces above PIECE_MAX get a chunk of exactly their size, so that at most
 * PIECE_MAX / CHUNK_BYTES (1/16) of a shared chunk is wasted. */
#define CHUNK_BYTES 16384u
#define PIECE_MAX   1024u

struct lv_strings_chunk {
    struct lv_strings_chunk *next;
    char data[];
};

static struct lv_strings_chunk *chunk_new(size_t bytes)
{
    if (bytes > SIZE_MAX - sizeof(struct lv_strings_chunk))
        return NULL;
    return lv_alloc(1, sizeof(struct lv_strings_chunk) + bytes);
}

char *lv_strings_take(struct lv_strings *p, size_t n)
{
    struct lv_strings_chunk *c;

    if (n <= PIECE_MAX && n <= p->left_bytes) {
        c = p->last;
        p->left_bytes -= n;
        return c->data + (CHUNK_BYTES - n - p->left_bytes);
    }
    if (!(c = chunk_new(n > PIECE_MAX ? n : CHUNK_BYTES)))
        return NULL;
    if (n > PIECE_MAX && p->last) { /* goes behind the shared chunk, which stays in use */
        c->next = p->last->next;
        p->last->next = c;
        return c->data;
    }
    c->next = p->last;
    p->last = c;
    p->left_bytes = n > PIECE_MAX ? 0 : CHUNK_BYTES - n;
    return c->data;
}

void lv_strings_deinit(struct lv_strings *p)
{
    struct lv_strings_chunk *c = p->last;

    while (c) {
        struct lv_strings_chunk *next = c->next;

        lv_free(c);
        c = next;
    }
    *p = (struct lv_strings){ 0 };
}
