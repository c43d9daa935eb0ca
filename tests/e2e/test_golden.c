/* Logits and greedy steps against goldens of an independent f32 implementation.
 *
 * usage: test_golden tiny FOLDER | real [MODEL]
 *
 * The golden tokens are fed (teacher forcing) and each step is judged alone, by log-probabilities.
 * int8 activations and f16 KV add noise; the tolerances are those of tests/golden/README.md, and for tiny
 * models three times the noise that the reference itself shows with int8 activations. */
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "e2e/host.h"
#include "ref/tiny.h"

struct tolerance {
    double mean, top1, gap; /* mean over the 20 listed; top-1; gap above which arg-max must match */
};

struct tally {
    unsigned n_record, n_bad;
    double worst_mean, worst_top1;
};

/* The listed positions of the prompt. */
static void judge_positions(const json_t *rec, const float *logits, uint32_t n_vocab, const struct tolerance *tol,
                            struct tally *t, const char *name)
{
    const json_t *pos = json_object_get(rec, "positions"), *top = json_object_get(rec, "top");
    const json_t *lse = json_object_get(rec, "logsumexp");
    double sum = 0, sum1 = 0;
    size_t n = 0, i;
    json_t *p;

    json_array_foreach(pos, i, p) {
        const float *x = logits + (size_t)json_integer_value(p) * n_vocab;
        const double ours = host_logsumexp(x, n_vocab), theirs = json_number_value(json_array_get(lse, i));
        const json_t *list = json_array_get(top, i);

        for (size_t k = 0; k < json_array_size(list); k++, n++) {
            const json_t *e = json_array_get(list, k);
            const double d = fabs((x[json_integer_value(json_array_get(e, 0))] - ours) -
                                  (json_number_value(json_array_get(e, 1)) - theirs));

            sum += d;
            if (k == 0)
                sum1 += d;
        }
    }
    const double mean = sum / (double)n, top1 = sum1 / (double)json_array_size(pos);

    if (!(mean <= tol->mean) || !(top1 <= tol->top1)) {
        printf("FAIL %s: mean |d log p| %.4f (at most %.4f), top-1 %.4f (at most %.4f)\n", name, mean, tol->mean, top1,
               tol->top1);
        t->n_bad++;
    }
    t->worst_mean = mean > t->worst_mean ? mean : t->worst_mean;
    t->worst_top1 = top1 > t->worst_top1 ? top1 : t->worst_top1;
}

/* The greedy tokens: logits of prompt and greedy text in a row. */
static void judge_greedy(const json_t *rec, const float *logits, uint32_t n_vocab, uint32_t n_prompt,
                         const struct tolerance *tol, struct tally *t, const char *name)
{
    const json_t *greedy = json_object_get(rec, "greedy"), *gap = json_object_get(rec, "gap");

    for (size_t i = 0; i < json_array_size(greedy); i++) {
        const uint32_t got = host_argmax(logits + (n_prompt - 1 + i) * n_vocab, n_vocab);
        const uint32_t want = (uint32_t)json_integer_value(json_array_get(greedy, i));
        const double g = json_number_value(json_array_get(gap, i));

        if (got != want && g > tol->gap) {
            printf("FAIL %s: greedy token %zu is %u, expected %u (gap %.3f)\n", name, i, got, want, g);
            t->n_bad++;
        }
    }
}

static bool judge(const json_t *rec, const char *path, const struct tolerance *tol, struct tally *t, const char *name)
{
    const json_t *ids = json_object_get(rec, "ids"), *greedy = json_object_get(rec, "greedy");
    const uint32_t n_prompt = (uint32_t)json_array_size(ids), n = n_prompt + (uint32_t)json_array_size(greedy);
    struct host h;
    bool ok = host_open(&h, path, &(struct host_options){ .n_threads = 2 });
    int32_t *all = calloc(n, sizeof *all);
    float *logits = ok ? malloc((size_t)n * host_n_vocab(&h) * sizeof *logits) : NULL;

    for (uint32_t i = 0; i < n; i++)
        all[i] = (int32_t)json_integer_value(i < n_prompt ? json_array_get(ids, i) : json_array_get(greedy, i - n_prompt));
    ok = ok && logits && host_logits(&h, all, n, 33, logits); /* an odd bucket, so that passes end anywhere */
    if (ok) {
        judge_positions(rec, logits, host_n_vocab(&h), tol, t, name);
        judge_greedy(rec, logits, host_n_vocab(&h), n_prompt, tol, t, name);
        t->n_record++;
    }
    host_close(&h);
    free(all);
    free(logits);
    return ok;
}

static const char *real_file(const char *model)
{
    static const char *const map[][2] = { { "smol.gguf", "smollm2-135m-instruct-q4_1.gguf" },
                                          { "gemma270.gguf", "gemma-3-270m-q4_k_m.gguf" },
                                          { "draft.gguf", "qwen2.5-coder-0.5b-instruct-q4_k_m.gguf" },
                                          { "target.gguf", "qwen2.5-coder-1.5b-instruct-q4_k_m.gguf" } };

    for (size_t i = 0; i < sizeof map / sizeof *map; i++)
        if (strcmp(map[i][0], model) == 0)
            return map[i][1];
    return NULL;
}

static const char *text(const json_t *rec, const char *key)
{
    const char *s = json_string_value(json_object_get(rec, key));

    return s ? s : "";
}

int main(int argc, char **argv)
{
    const bool tiny = argc > 2 && strcmp(argv[1], "tiny") == 0;
    FILE *f = fopen(tiny ? LEVER_TEST_DATA "/golden/tiny_forward.jsonl" : LEVER_TEST_DATA "/golden/forward.jsonl", "r");
    static char line[1 << 18];
    struct tally t = { 0 };
    unsigned n_skip = 0;
    char name[128], path[600];

    if (!f || argc < 2)
        return 1;
    while (fgets(line, sizeof line, f)) {
        json_t *rec = json_loads(line, 0, NULL);
        struct tolerance tol = { .mean = 0.25, .top1 = 0.5, .gap = 0.5 };
        struct lever_error err;

        if (!rec)
            return 1;
        if (tiny) {
            const json_t *noise = json_object_get(rec, "int8_noise"); /* largest, mean, arg-max gap */

            snprintf(name, sizeof name, "%s", text(rec, "preset"));
            snprintf(path, sizeof path, "%s/golden-%s.gguf", argv[2], name);
            tol.mean = 3 * json_number_value(json_array_get(noise, 1));
            tol.top1 = 3 * json_number_value(json_array_get(noise, 0));
            tol.gap = 2 * json_number_value(json_array_get(noise, 0)); /* two logits that err towards each other */
            if (tiny_write(tiny_preset(name), path, &err) < 0) {
                printf("FAIL %s: %s\n", name, err.message);
                return 1;
            }
        } else if (argc > 2 && strcmp(argv[2], text(rec, "model")) != 0) {
            json_decref(rec);
            continue;
        } else {
            const char *p = host_model_path(real_file(text(rec, "model")));

            if (!p) {
                n_skip++;
                json_decref(rec);
                continue;
            }
            snprintf(name, sizeof name, "%s %s", text(rec, "model"), text(rec, "name"));
            snprintf(path, sizeof path, "%s", p);
        }
        if (!judge(rec, path, &tol, &t, name))
            return 1;
        if (tiny)
            remove(path);
        json_decref(rec);
    }
    fclose(f);
    printf("%u records, %u failures; worst mean |d log p| %.4f, worst top-1 %.4f\n", t.n_record, t.n_bad, t.worst_mean,
           t.worst_top1);
    if (t.n_bad)
        return 1;
    return t.n_record ? 0 : 77;
}
