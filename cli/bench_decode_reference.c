/* Ids of plain decoding with everything in memory, kept under the user's cache: what every mode must give. */
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "bench_decode.h"

void lv_bench_add_prompt(struct lv_worker *w, const struct lv_args *a, const struct lv_bench_prompt *p, uint32_t n)
{
    const struct lever_sampling *s = &a->sampling;

    lv_worker_add(w, p->chat ? "--chat" : "-p");
    lv_worker_add(w, p->text);
    lv_worker_addf(w, "-n", "%" PRIu32, n);
    lv_worker_addf(w, "--temp", "%.9g", (double)s->temperature);
    lv_worker_addf(w, "--top-k", "%" PRId32, s->top_k);
    lv_worker_addf(w, "--top-p", "%.9g", (double)s->top_p);
    lv_worker_addf(w, "--min-p", "%.9g", (double)s->min_p);
    lv_worker_addf(w, "--seed", "%" PRIu64, s->seed);
    if (s->ignore_eos)
        lv_worker_add(w, "--ignore-eos");
}

/* The model that answers for the target: itself, or a smaller one that gives the same ids. */
static const char *model_of(const struct lv_args *a)
{
    return a->reference ? a->reference : a->target;
}

/* Everything that the ids depend on; NULL without memory or without the file. */
static json_t *make_key(const struct lv_args *a, const struct lv_bench_prompt *p)
{
    const struct lever_sampling *s = &a->sampling;
    char *path = realpath(model_of(a), NULL);
    struct stat sb;
    json_t *key = NULL;

    if (path && stat(path, &sb) == 0)
        key = json_pack("{s:o, s:I, s:I, s:I, s:o, s:b, s:i, s:o, s:o, s:i, s:o, s:o, s:o, s:b, s:o, s:s}",
                        "model", lv_json_str(path),
                        "bytes", (json_int_t)sb.st_size,
                        "mtime", (json_int_t)sb.st_mtim.tv_sec,
                        "mtime_ns", (json_int_t)sb.st_mtim.tv_nsec,
                        "prompt", lv_json_str(p->text),
                        "chat", (int)p->chat,
                        "n", (int)a->n_predict,
                        "context", lv_json_uint(a->n_ctx),
                        "temp", lv_json_real((double)s->temperature),
                        "top_k", (int)s->top_k,
                        "top_p", lv_json_real((double)s->top_p),
                        "min_p", lv_json_real((double)s->min_p),
                        "seed", json_sprintf("%" PRIu64, s->seed),
                        "ignore_eos", (int)s->ignore_eos,
                        "kernels", lv_json_str(a->cpu_level),
                        "version", lever_version());
    free(path);
    return key;
}

static bool make_folder(const char *path)
{
    return mkdir(path, 0700) == 0 || errno == EEXIST;
}

/* "$XDG_CACHE_HOME/lever/reference/HASH.json", its folders made. The file repeats the key, so that two keys with one
 * hash, however unlikely, cost only a run. False when there is no home. */
static bool cache_file(const json_t *key, char buf[PATH_MAX])
{
    const char *cache = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
    char *text = json_dumps(key, JSON_COMPACT | JSON_SORT_KEYS);
    uint64_t hash = UINT64_C(0xcbf29ce484222325); /* FNV-1a */
    bool good = text != NULL;
    int n = 0;

    for (const char *s = text; s && *s; s++)
        hash = (hash ^ (unsigned char)*s) * UINT64_C(0x100000001b3);
    free(text);
    if (cache && cache[0] == '/')
        n = snprintf(buf, PATH_MAX, "%s", cache);
    else if (home && home[0] == '/')
        n = snprintf(buf, PATH_MAX, "%s/.cache", home);
    if (!good || n <= 0 || n > PATH_MAX - 80)
        return false;
    good = make_folder(buf);
    n += snprintf(buf + n, PATH_MAX - (size_t)n, "/lever");
    good = good && make_folder(buf);
    n += snprintf(buf + n, PATH_MAX - (size_t)n, "/reference");
    good = good && make_folder(buf);
    snprintf(buf + n, PATH_MAX - (size_t)n, "/%016" PRIx64 ".json", hash);
    return good;
}

/* A file that is damaged or of another key is as good as none. */
static bool load(const char *path, const json_t *key, struct lv_bench_reference *out)
{
    json_error_t je;
    json_t *o = json_load_file(path, 0, &je), *ids = json_object_get(o, "ids");
    const json_t *n = json_object_get(o, "prompt_tokens");
    bool good = json_equal(json_object_get(o, "key"), key) && json_array_size(ids) > 0 && json_integer_value(n) > 0;

    for (size_t i = 0; good && i < json_array_size(ids); i++)
        good = json_is_integer(json_array_get(ids, i));
    if (good)
        *out = (struct lv_bench_reference){ .ids = json_incref(ids), .n_prompt = (uint64_t)json_integer_value(n) };
    json_decref(o);
    return good;
}

/* Whole or not at all: another bench may read it. Failure costs only time later. */
static void save(const char *path, json_t *key, const struct lv_bench_reference *r)
{
    char part[PATH_MAX + 24];
    json_t *o = json_pack("{s:O, s:O, s:I}", "key", key, "ids", r->ids, "prompt_tokens", (json_int_t)r->n_prompt);

    snprintf(part, sizeof part, "%s.%ld", path, (long)getpid());
    if (!o || json_dump_file(o, part, JSON_COMPACT) != 0 || rename(part, path) != 0)
        unlink(part);
    json_decref(o);
}

static enum lever_status generate(const struct lv_args *a, const struct lv_bench_prompt *p,
                                  struct lv_bench_reference *out, struct lever_error *err)
{
    struct lv_worker w;
    json_t *run, *ids;

    lv_worker_init(&w, "run", a);
    lv_worker_add(&w, "-m");
    lv_worker_add(&w, model_of(a));
    lv_worker_add(&w, "--speculation");
    lv_worker_add(&w, "off");
    if (a->n_ctx)
        lv_worker_addf(&w, "-c", "%" PRIu32, a->n_ctx);
    lv_bench_add_prompt(&w, a, p, (uint32_t)a->n_predict);
    if (lv_worker_run(&w, NULL, &run, err) < 0)
        return err->status;
    ids = json_object_get(run, "ids");
    *out = (struct lv_bench_reference){
        .ids = json_incref(ids), .n_prompt = (uint64_t)json_integer_value(json_object_get(run, "prompt_tokens"))
    };
    json_decref(run);
    if (json_array_size(out->ids) == 0)
        return lv_cli_fail(err, LEVER_E_INTERNAL, "plain decoding gave no ids");
    return LEVER_OK;
}

enum lever_status lv_bench_reference_get(const struct lv_args *a, const struct lv_bench_prompt *p,
                                         struct lv_bench_reference *out, struct lever_error *err)
{
    json_t *key = a->no_cache ? NULL : make_key(a, p);
    char path[PATH_MAX];
    const bool kept = key && cache_file(key, path);
    enum lever_status st = LEVER_OK;

    memset(out, 0, sizeof *out);
    if (!kept || !load(path, key, out)) {
        st = generate(a, p, out, err);
        if (st >= 0 && kept)
            save(path, key, out);
    }
    json_decref(key);
    return st;
}
