/* lever bench kernels and lever bench stream. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "cli.h"

#define CAP_LIST 32

/* ---- lists ---- */

/* A whole number of 1..max at *s, which then points behind it. 0: none there. */
static uint32_t number(const char **s, uint32_t max)
{
    uint64_t n = 0;
    const char *p = *s;

    for (; *p >= '0' && *p <= '9' && n <= max; p++)
        n = 10 * n + (uint64_t)(*p - '0');
    *s = p;
    return n <= max ? (uint32_t)n : 0;
}

/* "1,4,8" */
static enum lever_status parse_rows(const char *text, uint32_t out[CAP_LIST], size_t *n, struct lever_error *err)
{
    *n = 0;
    for (const char *s = text;; s++) {
        const uint32_t rows = number(&s, 256);

        if (!rows || (*s && *s != ',') || *n == CAP_LIST)
            return lv_cli_fail(err, LEVER_E_ARG, "--rows: found \"%s\", expected up to %d numbers of 1..256, as in 1,4,8", text,
                               CAP_LIST);
        out[(*n)++] = rows;
        if (!*s)
            return LEVER_OK;
    }
}

/* "8960x1536,1536x8960" */
static enum lever_status parse_shapes(const char *text, uint32_t out[CAP_LIST][2], size_t *n, struct lever_error *err)
{
    *n = 0;
    for (const char *s = text;; s++) {
        const uint32_t rows = number(&s, 1u << 20), by = *s == 'x' ? (s++, 1) : 0, cols = by ? number(&s, 1u << 20) : 0;

        if (!rows || !cols || (*s && *s != ',') || *n == CAP_LIST)
            return lv_cli_fail(err, LEVER_E_ARG, "--shape: found \"%s\", expected ROWSxCOLUMNS, as in 8960x1536", text);
        out[*n][0] = rows;
        out[(*n)++][1] = cols;
        if (!*s)
            return LEVER_OK;
    }
}

/* "q4_k,q6_k"; the names are in *copy, which the caller frees. */
static enum lever_status parse_types(const char *text, char **copy, const char *out[CAP_LIST], size_t *n,
                                     struct lever_error *err)
{
    *n = 0;
    *copy = strdup(text);
    if (!*copy)
        return lv_cli_fail(err, LEVER_E_NOMEM, "no memory for a list of types");
    for (char *s = *copy; s;) {
        char *comma = strchr(s, ',');

        if (comma)
            *comma = '\0';
        if (*n == CAP_LIST || !*s)
            return lv_cli_fail(err, LEVER_E_ARG, "--types: found \"%s\", expected names as in q4_k,q6_k", text);
        out[(*n)++] = s;
        s = comma ? comma + 1 : NULL;
    }
    return LEVER_OK;
}

/* ---- kernels ---- */

struct cases {
    struct lv_progress progress;
    struct lever_kernel_case *c; /* [n], owned */
    size_t n, cap;
    bool failed;
};

static void on_case(void *user, const struct lever_kernel_case *c)
{
    struct cases *all = user;

    if (all->n == all->cap) {
        const size_t cap = 2 * all->cap + 64;
        struct lever_kernel_case *p = realloc(all->c, cap * sizeof *p);

        if (!p) {
            all->failed = true;
            return;
        }
        all->c = p;
        all->cap = cap;
    }
    all->c[all->n++] = *c;
}

static void on_progress(void *user, const char *what, uint64_t done, uint64_t total)
{
    lv_progress_show(&((struct cases *)user)->progress, what, done, total);
}

static json_t *rate_json(const struct lever_rate *r)
{
    return json_pack("{s:o, s:o, s:o, s:o}", "median", lv_json_real(r->median), "low", lv_json_real(r->low), "high",
                     lv_json_real(r->high), "measurements", lv_json_uint(r->n));
}

static json_t *case_json(const struct lever_kernel_case *c)
{
    switch (c->op) {
    case LEVER_KERNEL_MATMUL:
        return json_pack("{s:o, s:o, s:[o, o], s:o, s:o, s:o, s:o, s:o, s:o}",
                         "type", lv_json_str(c->type),
                         "rows", lv_json_uint(c->rows),
                         "shape", lv_json_uint(c->n_out), lv_json_uint(c->n_in),
                         "level", lv_json_str(c->level),
                         "seconds", lv_json_real(c->seconds),
                         "bytes_per_s", lv_json_real(c->bytes_per_s),
                         "mac_per_s", lv_json_real(c->mac_per_s),
                         "share_dram", lv_json_real(c->share_dram),
                         "share_peak", lv_json_real(c->share_peak));
    case LEVER_KERNEL_PACK:
        return json_pack("{s:o, s:o, s:o, s:o}", "type", lv_json_str(c->type), "level", lv_json_str(c->level), "columns",
                         lv_json_uint(c->n_in), "bytes_per_s", lv_json_real(c->bytes_per_s));
    case LEVER_KERNEL_QK:
    case LEVER_KERNEL_PV:
        break;
    }
    return json_pack("{s:s, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o}",
                     "op", c->op == LEVER_KERNEL_QK ? "qk" : "pv",
                     "rows", lv_json_uint(c->rows),
                     "positions", lv_json_uint(c->n_out),
                     "head_dim", lv_json_uint(c->n_in),
                     "level", lv_json_str(c->level),
                     "seconds", lv_json_real(c->seconds),
                     "bytes_per_s", lv_json_real(c->bytes_per_s),
                     "fma_per_s", lv_json_real(c->mac_per_s),
                     "share_fma", lv_json_real(c->share_peak));
}

static json_t *kernels_json(const struct lever_raw *raw, const struct cases *all)
{
    json_t *cases = json_array(), *pack = json_array(), *attention = json_array();

    for (size_t i = 0; i < all->n; i++) {
        const enum lever_kernel_op op = all->c[i].op;

        json_array_append_new(op == LEVER_KERNEL_MATMUL ? cases : op == LEVER_KERNEL_PACK ? pack : attention,
                              case_json(&all->c[i]));
    }
    return json_pack("{s:{s:o, s:o, s:o, s:{s:o, s:o, s:o}, s:o, s:o, s:o, s:o}, s:o, s:o, s:o, s:s}",
                     "raw",
                         "dram", lv_json_real(raw->dram.median),
                         "peak_mac", lv_json_real(raw->peak_mac.median),
                         "fma", lv_json_real(raw->fma.median),
                         "spread",
                             "dram", rate_json(&raw->dram),
                             "peak_mac", rate_json(&raw->peak_mac),
                             "fma", rate_json(&raw->fma),
                         "mac_instruction", lv_json_str(raw->mac_instruction),
                         "fma_instruction", lv_json_str(raw->fma_instruction),
                         "block_bytes", lv_json_uint(raw->block_bytes),
                         "threads", lv_json_uint(raw->n_threads),
                     "cases", cases,
                     "pack", pack,
                     "attention", attention,
                     "version", lever_version());
}

static void put_kernels(const struct lever_raw *raw, const struct cases *all)
{
    enum lever_kernel_op last = LEVER_KERNEL_PV;
    char size[24];

    printf("raw, %" PRIu32 " threads, median (lowest .. highest of %" PRIu32 "):\n", raw->n_threads, raw->dram.n);
    printf("  memory  %7.1f GB/s   (%.1f .. %.1f), %s cycled through\n", raw->dram.median * 1e-9, raw->dram.low * 1e-9,
           raw->dram.high * 1e-9, lv_size_text(size, raw->block_bytes));
    printf("  int8    %7.1f GMAC/s (%.1f .. %.1f), %s\n", raw->peak_mac.median * 1e-9, raw->peak_mac.low * 1e-9,
           raw->peak_mac.high * 1e-9, raw->mac_instruction);
    printf("  f32     %7.1f GFMA/s (%.1f .. %.1f), %s\n", raw->fma.median * 1e-9, raw->fma.low * 1e-9, raw->fma.high * 1e-9,
           raw->fma_instruction);
    for (size_t i = 0; i < all->n; i++) {
        const struct lever_kernel_case *c = &all->c[i];

        if (i == 0 || (c->op != last && c->op != LEVER_KERNEL_PV)) {
            static const char *const title[] = {
                "\nmatmul, %s\ntype      shape          rows        us     GB/s  of raw   GMAC/s  of peak\n",
                "\npacking, %s, one thread\ntype          GB/s\n", "\nattention, %s\nop  queries   GFMA/s  of peak\n"
            };

            printf(c->op == LEVER_KERNEL_MATMUL ? title[0] : c->op == LEVER_KERNEL_PACK ? title[1] : title[2], c->level);
        }
        last = c->op;
        if (c->op == LEVER_KERNEL_MATMUL)
            printf("%-5s %6" PRIu32 " x %-6" PRIu32 " %8" PRIu32 " %9.1f %8.1f %7.2f %8.1f %8.2f\n", c->type, c->n_out,
                   c->n_in, c->rows, c->seconds * 1e6, c->bytes_per_s * 1e-9, c->share_dram, c->mac_per_s * 1e-9,
                   c->share_peak);
        else if (c->op == LEVER_KERNEL_PACK)
            printf("%-5s %12.1f\n", c->type, c->bytes_per_s * 1e-9);
        else
            printf("%-2s %8" PRIu32 " %8.1f %8.2f\n", c->op == LEVER_KERNEL_QK ? "qk" : "pv", c->rows, c->mac_per_s * 1e-9,
                   c->share_peak);
    }
}

int lv_cli_bench_kernels(const struct lv_args *a)
{
    struct lever_bench_kernels_options opt;
    struct lever_raw raw = { .size = sizeof raw };
    struct lever_error err = { .status = LEVER_OK };
    struct cases all = { .n = 0 };
    uint32_t rows[CAP_LIST], shape[CAP_LIST][2];
    const char *type[CAP_LIST];
    char *types = NULL;
    int code;

    lever_bench_kernels_default(&opt, sizeof opt);
    lv_progress_init(&all.progress, a->json);
    opt.n_threads = a->n_threads;
    opt.cpu_level = a->cpu_level;
    opt.rows = rows;
    opt.shape = (const uint32_t (*)[2])shape;
    opt.type = type;
    opt.on_case = on_case;
    opt.progress = on_progress;
    opt.user = &all;
    if ((a->rows && parse_rows(a->rows, rows, &opt.n_rows, &err) < 0) ||
        (a->shape && parse_shapes(a->shape, shape, &opt.n_shape, &err) < 0) ||
        (a->types && parse_types(a->types, &types, type, &opt.n_type, &err) < 0)) {
        lv_error("%s", err.message);
        code = lv_exit_code(err.status);
    } else if (lever_bench_kernels(&opt, &raw, &err) < 0 ||
               (all.failed && lv_cli_fail(&err, LEVER_E_NOMEM, "no memory for the results") < 0)) {
        lv_progress_end(&all.progress);
        code = lv_report(&err, a->json);
    } else {
        lv_progress_end(&all.progress);
        if (a->json) {
            code = lv_json_print(kernels_json(&raw, &all));
        } else {
            put_kernels(&raw, &all);
            code = lv_stdout_done() ? LV_EXIT_OK : LV_EXIT_IO;
        }
    }
    free(types);
    free(all.c);
    return code;
}

/* ---- stream ---- */

static json_t *stream_json(const struct lever_stream_report *r)
{
    return json_pack("{s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:b, s:s}",
                     "raw", lv_json_real(r->raw),
                     "rate", lv_json_real(r->rate),
                     "share", lv_json_real(r->share),
                     "idle_share", lv_json_real(r->idle_share),
                     "cpu_share", lv_json_real(r->cpu_share),
                     "reader", lv_json_str(r->reader),
                     "raw_before", lv_json_real(r->raw_before),
                     "raw_after", lv_json_real(r->raw_after),
                     "cpu_reader", lv_json_real(r->cpu_reader),
                     "cpu_pack", lv_json_real(r->cpu_pack),
                     "seconds", lv_json_real(r->seconds),
                     "passes", lv_json_uint(r->n_pass),
                     "rows", lv_json_uint(r->rows),
                     "bytes_per_pass", lv_json_uint(r->bytes_per_pass),
                     "slot_bytes", lv_json_uint(r->slot_bytes),
                     "slots", lv_json_uint(r->n_slot),
                     "reread", lv_json_real(r->reread),
                     "looks_cached", (int)r->looks_cached,
                     "version", lever_version());
}

static void put_stream(const struct lever_stream_report *r)
{
    char size[24], slot[24];

    printf("raw      %.2f GB/s before, %.2f after: %s reads of %s, 4 in flight\n", r->raw_before * 1e-9, r->raw_after * 1e-9,
           r->reader, lv_size_text(slot, r->slot_bytes));
    printf("stream   %.2f GB/s, %.2f of raw: %" PRIu32 " passes of %s in %.2f s", r->rate * 1e-9, r->share, r->n_pass,
           lv_size_text(size, r->bytes_per_pass), r->seconds);
    if (r->rows)
        printf(", %" PRIu32 " row%s each", r->rows, r->rows == 1 ? "" : "s");
    printf("\nidle     %.3f of the time without a read in flight\n", r->idle_share);
    printf("CPU      %.3f of a core: readers %.3f, packing %.3f\n", r->cpu_share, r->cpu_reader, r->cpu_pack);
}

int lv_cli_bench_stream(const struct lv_args *a)
{
    struct lever_stream_report r = { .size = sizeof r };
    struct lever_error err = { .status = LEVER_OK };
    struct lv_progress progress;
    struct lever_options opt;
    uint32_t rows[CAP_LIST] = { 1 };
    size_t n_rows = 1;
    enum lever_status st;

    lv_progress_init(&progress, a->json);
    if (a->rows && parse_rows(a->rows, rows, &n_rows, &err) >= 0 && n_rows != 1)
        lv_cli_fail(&err, LEVER_E_ARG, "--rows: found \"%s\", expected one number", a->rows);
    if (err.status < 0) {
        lv_error("%s", err.message);
        return lv_exit_code(err.status);
    }
    lv_session_options(a, a->n_ctx, &progress, &opt);
    st = lever_bench_stream(&opt, a->compute == 0, rows[0], a->n_pass, &r, &err);
    lv_progress_end(&progress);
    if (st < 0)
        return lv_report(&err, a->json);
    if (r.looks_cached)
        lv_say("warning: a second read of the same bytes ran at %.1f GB/s: reads are served from memory here, so \"raw\" is not "
               "the device's rate", r.reread * 1e-9);
    if (a->json)
        return lv_json_print(stream_json(&r));
    put_stream(&r);
    return lv_stdout_done() ? LV_EXIT_OK : LV_EXIT_IO;
}
