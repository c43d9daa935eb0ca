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

/* -log p of each token but the first, summed; -1 after an error. */
static double window_nll(const char *path, const json_t *window, float **logits)
{
    static int32_t ids[CAP_WINDOW];
    const uint32_t n = (uint32_t)json_array_size(window);
    struct host h;
    double sum = 0;
    bool ok = n >= 2 && n <= CAP_WINDOW && host_open(&h, path, &(struct host_options){ .n_threads = 2 });

    if (!ok)
        return -1;
    const uint32_t n_vocab = host_n_vocab(&h);

    if (!*logits)
        *logits = malloc((size_t)CAP_WINDOW * n_vocab * sizeof **logits);
    for (uint32_t i = 0; i < n; i++)
        ids[i] = (int32_t)json_integer_value(json_array_get(window, i));
    ok = *logits && host_logits(&h, ids, n, 61, *logits);
    for (uint32_t i = 0; ok && i + 1 < n; i++) {
        const float *x = *logits + (size_t)i * n_vocab;
        double m = x[0], s = 0;

        for (uint32_t t = 1; t < n_vocab; t++)
            m = x[t] > m ? x[t] : m;
        for (uint32_t t = 0; t < n_vocab; t++)
            s += exp(x[t] - m);
        sum += m + log(s) - x[ids[i + 1]];
    }
    host_close(&h);
    return ok ? sum : -1;
}

int main(void)
{
    json_t *rec = json_load_file(LEVER_TEST_DATA "/golden/perplexity.json", 0, NULL);
    const char *path = host_model_path("qwen2.5-coder-1.5b-instruct-q4_k_m.gguf");
    const json_t *windows = json_object_get(rec, "windows");
    float *logits = NULL;
    double sum = 0;
    size_t n = 0;

    if (!rec)
        return 1;
    if (!path)
        return 77;
    for (size_t i = 0; i < json_array_size(windows); i++) {
        const double nll = window_nll(path, json_array_get(windows, i), &logits);

        if (nll < 0)
            return 1;
        sum += nll;
        n += json_array_size(json_array_get(windows, i)) - 1;
    }
    const double want = exp(json_number_value(json_object_get(rec, "nll"))), got = exp(sum / (double)n);

    free(logits);
    json_decref(rec);
    printf("%zu tokens: perplexity %.4f, with f32 activations %.4f: %+.3f %%, limit %.1f %%\n", n, got, want,
           100 * (got / want - 1), 100 * LIMIT);
    return n > 1000 && fabs(got / want - 1) <= LIMIT ? 0 : 1;
}
