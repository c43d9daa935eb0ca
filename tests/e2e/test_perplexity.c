/* Perplexity of a fixed text with int8 activations and an f16 cache, against an independent implementation with neither:
 * at most 0.5 % apart. The record comes from tests/ref/reference.py nll.
 *
 * usage: test_perplexity */
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "e2e/host.h"

#define LIMIT 0.005
#define CAP_WINDOW 512

/* -log p of each token but the first, summed; -1 after an error. Leaves the cache empty. */
static double window_nll(struct host *h, const json_t *window, float *logits)
{
    static int32_t ids[CAP_WINDOW];
    const uint32_t n = (uint32_t)json_array_size(window), n_vocab = host_n_vocab(h);
    double sum = 0;

    if (n < 2 || n > CAP_WINDOW)
        return -1;
    for (uint32_t i = 0; i < n; i++)
        ids[i] = (int32_t)json_integer_value(json_array_get(window, i));
    if (!host_logits(h, ids, n, 61, logits) || !lv_kv_rewind(&h->m.kv, 0))
        return -1;
    for (uint32_t i = 0; i + 1 < n; i++) {
        const float *x = logits + (size_t)i * n_vocab;

        sum += host_logsumexp(x, n_vocab) - x[ids[i + 1]];
    }
    return sum;
}

int main(void)
{
    json_t *rec = json_load_file(LEVER_TEST_DATA "/golden/perplexity.json", 0, NULL);
    const char *path = host_model_path("qwen2.5-coder-1.5b-instruct-q4_k_m.gguf");
    const json_t *windows = json_object_get(rec, "windows");
    struct host h;
    double sum = 0;
    size_t n = 0;

    if (!rec)
        return 1;
    if (!path)
        return 77;
    if (!host_open(&h, path, &(struct host_options){ .n_threads = 2 }))
        return 1;
    float *logits = malloc((size_t)CAP_WINDOW * host_n_vocab(&h) * sizeof *logits);

    for (size_t i = 0; i < json_array_size(windows); i++) {
        const double nll = logits ? window_nll(&h, json_array_get(windows, i), logits) : -1;

        if (nll < 0)
            return 1;
        sum += nll;
        n += json_array_size(json_array_get(windows, i)) - 1;
    }
    const double want = exp(json_number_value(json_object_get(rec, "nll"))), got = exp(sum / (double)n);

    host_close(&h);
    free(logits);
    json_decref(rec);
    printf("%zu tokens: perplexity %.4f, with f32 activations %.4f: %+.3f %%, limit %.1f %%\n", n, got, want,
           100 * (got / want - 1), 100 * LIMIT);
    return n > 1000 && fabs(got / want - 1) <= LIMIT ? 0 : 1;
}
