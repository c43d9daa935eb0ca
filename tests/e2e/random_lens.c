#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "e2e/random_lens.h"

#include "base/half.h"
#include "engine/engine.h"

#define RANK 32u
#define MAX_BYTES 400000u

static uint8_t data[MAX_BYTES];

static void put(uint32_t *at, const void *from, uint32_t n)
{
    memcpy(data + *at, from, n);
    *at += n;
}

static void put32(uint32_t *at, uint32_t v)
{
    put(at, &v, sizeof v);
}

/* Two matrices and a vector of zeros. */
static void put_matrices(uint32_t *at, uint32_t n_embd, struct lv_rng *r)
{
    for (uint32_t b = 0; b < 2 * RANK * n_embd / 32; b++) {
        const uint16_t d = lv_f16_from_f32(((float)lv_rng_below(r, 201) - 100.0f) / 20000.0f);

        put(at, &d, sizeof d);
        for (uint32_t k = 0; k < 32; k++)
            data[(*at)++] = (uint8_t)lv_rng_below(r, 256);
    }
    memset(data + *at, 0, 2 * n_embd);
    *at += 2 * n_embd;
}

bool random_lens(const char *model, const char *path, const uint32_t *depth, uint32_t n, struct lv_rng *r)
{
    struct lever_error err;
    struct lv_instance m;
    uint32_t at = 0;

    if (lv_instance_open(&m, model, &err) < 0) {
        printf("FAIL lens: %s\n", err.message);
        lv_instance_close(&m);
        return false;
    }
    const uint64_t fingerprint = lv_engine_hash_model(0, m.gguf);
    const uint32_t n_embd = m.program->shape.n_embd, n_layer = m.program->shape.n_layer;

    lv_instance_close(&m);
    put(&at, "LVLENS01", 8);
    put32(&at, LV_LENS_VERSION);
    put32(&at, 40 + n * (64 + 2 * RANK * n_embd / 32 * 34 + 2 * n_embd) + 4);
    put(&at, &fingerprint, sizeof fingerprint);
    put32(&at, n_embd);
    put32(&at, n_layer);
    put32(&at, n);
    put32(&at, 0);
    for (uint32_t i = 0; i < n; i++) {
        put32(&at, depth[i]);
        put32(&at, RANK);
        for (uint32_t k = 0; k < 1 + LV_PREDICT_WEIGHTS; k++)
            put32(&at, lv_f32_bits((float)lv_rng_below(r, 601) / 100.0f - 3.0f));
        put32(&at, 0);
    }
    for (uint32_t i = 0; i < n; i++)
        put_matrices(&at, n_embd, r);
    put32(&at, lv_crc32(data, at));
    FILE *f = fopen(path, "wb");

    if (!f || fwrite(data, at, 1, f) != 1 || fclose(f) != 0) {
        printf("FAIL lens: %s cannot be written\n", path);
        return false;
    }
    return true;
}
