#include "tok/fake_gguf.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct lv_gguf *fake_new(const char *model, const char *pre)
{
    struct lv_gguf *g = calloc(1, sizeof *g);

    g->n_type = g->n_score = UINT64_MAX;
    if (model)
        fake_str(g, "tokenizer.ggml.model", model);
    if (pre)
        fake_str(g, "tokenizer.ggml.pre", pre);
    return g;
}

void fake_free(struct lv_gguf *g)
{
    for (uint64_t i = 0; i < g->n_token; i++)
        free(g->token[i]);
    for (uint64_t i = 0; i < g->n_merge; i++)
        free(g->merge[i]);
    free(g);
}

void fake_num(struct lv_gguf *g, const char *name, enum lv_gguf_kind kind, uint64_t num)
{
    g->key[g->n_key++] = (struct fake_key){ name, kind, num, NULL };
}

void fake_str(struct lv_gguf *g, const char *name, const char *str)
{
    g->key[g->n_key++] = (struct fake_key){ name, LV_GGUF_STRING, 0, str };
}

int32_t fake_token_n(struct lv_gguf *g, const char *s, size_t len, int type, double score)
{
    const uint64_t id = g->n_token++;

    g->token[id] = malloc(len + 1);
    memcpy(g->token[id], s, len);
    g->token[id][len] = '\0';
    g->token_len[id] = len;
    g->type[id] = type;
    g->score[id] = score;
    return (int32_t)id;
}

int32_t fake_token(struct lv_gguf *g, const char *s, int type, double score)
{
    return fake_token_n(g, s, strlen(s), type, score);
}

void fake_merge(struct lv_gguf *g, const char *left, const char *right)
{
    char *s = malloc(strlen(left) + strlen(right) + 2);

    sprintf(s, "%s %s", left, right);
    g->merge[g->n_merge++] = s;
}

/* The definition: printable Latin-1 keeps its place, the others are numbered from 256. */
void fake_map_byte(unsigned char b, char out[3])
{
    unsigned c = 256;

    for (unsigned i = 0; i <= b; i++) {
        const bool printable = (i >= 33 && i <= 126) || (i >= 161 && i <= 172) || (i >= 174 && i <= 255);

        if (i == b) {
            c = printable ? i : c;
            break;
        }
        c += !printable;
    }
    if (c < 0x80) {
        out[0] = (char)c;
        out[1] = '\0';
    } else {
        out[0] = (char)(0xc0 | c >> 6);
        out[1] = (char)(0x80 | (c & 0x3f));
        out[2] = '\0';
    }
}

void fake_bytes(struct lv_gguf *g, bool spm)
{
    for (unsigned b = 0; b < 256; b++) {
        char s[8];

        if (spm)
            sprintf(s, "<0x%02X>", b);
        else
            fake_map_byte((unsigned char)b, s);
        fake_token(g, s, spm ? 6 : 1, 0);
    }
}

/* ---- gguf.h ----------------------------------------------------------------- */

static const struct fake_key *find(const struct lv_gguf *g, const char *name)
{
    for (int i = 0; i < g->n_key; i++)
        if (strcmp(g->key[i].name, name) == 0)
            return &g->key[i];
    return NULL;
}

enum lever_status lv_gguf_get_u64(const struct lv_gguf *g, const char *key, uint64_t *out, struct lever_error *err)
{
    const struct fake_key *k = find(g, key);

    if (!k)
        return LEVER_DONE;
    if (k->kind == LV_GGUF_STRING || k->kind == LV_GGUF_BOOL)
        return LV_FAIL(err, LEVER_E_MODEL, "%s has another type", key);
    *out = k->num;
    return LEVER_OK;
}

enum lever_status lv_gguf_get_bool(const struct lv_gguf *g, const char *key, bool *out, struct lever_error *err)
{
    const struct fake_key *k = find(g, key);

    if (!k)
        return LEVER_DONE;
    if (k->kind != LV_GGUF_BOOL)
        return LV_FAIL(err, LEVER_E_MODEL, "%s has another type", key);
    *out = k->num != 0;
    return LEVER_OK;
}

enum lever_status lv_gguf_get_str(const struct lv_gguf *g, const char *key, struct lv_str *out, struct lever_error *err)
{
    const struct fake_key *k = find(g, key);

    if (!k)
        return LEVER_DONE;
    if (k->kind != LV_GGUF_STRING)
        return LV_FAIL(err, LEVER_E_MODEL, "%s has another type", key);
    *out = (struct lv_str){ k->str, strlen(k->str) };
    return LEVER_OK;
}

enum lever_status lv_gguf_get_array(const struct lv_gguf *g, const char *key, enum lv_gguf_kind *elem, uint64_t *n,
                                    struct lever_error *err)
{
    const struct fake_key *k = find(g, key); /* a scalar by that name hides the array */

    if (k && k->kind != LV_GGUF_ARRAY)
        return LV_FAIL(err, LEVER_E_MODEL, "%s has another type", key);
    if (k) { /* an array of another kind; its length does not matter */
        *elem = (enum lv_gguf_kind)k->num;
        *n = g->n_token;
        return LEVER_OK;
    }
    *elem = LV_GGUF_STRING;
    if (strcmp(key, "tokenizer.ggml.tokens") == 0) {
        *n = g->n_token;
        return LEVER_OK;
    }
    if (strcmp(key, "tokenizer.ggml.merges") == 0) {
        *n = g->n_merge;
        return g->no_merges ? LEVER_DONE : LEVER_OK;
    }
    if (strcmp(key, "tokenizer.ggml.token_type") == 0) {
        *elem = LV_GGUF_I32;
        *n = g->n_type == UINT64_MAX ? g->n_token : g->n_type;
        return g->n_type ? LEVER_OK : LEVER_DONE;
    }
    if (strcmp(key, "tokenizer.ggml.scores") == 0) {
        *elem = LV_GGUF_F32;
        *n = g->n_score == UINT64_MAX ? g->n_token : g->n_score;
        return g->n_score ? LEVER_OK : LEVER_DONE;
    }
    return LEVER_DONE;
}

struct lv_str lv_gguf_array_str(const struct lv_gguf *g, const char *key, uint64_t i)
{
    if (strcmp(key, "tokenizer.ggml.tokens") == 0)
        return (struct lv_str){ g->token[i], g->token_len[i] };
    return (struct lv_str){ g->merge[i], strlen(g->merge[i]) };
}

double lv_gguf_array_num(const struct lv_gguf *g, const char *key, uint64_t i)
{
    return strcmp(key, "tokenizer.ggml.scores") == 0 ? g->score[i] : g->type[i];
}
