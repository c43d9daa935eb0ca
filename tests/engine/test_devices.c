/* Two kernel tables as two devices, on any machine: the lower level is "the other device". The ids are those of one table
 * wherever runs are placed and however they are cut; the choice follows the times that were measured; drift reaches the mapper; what
 * was measured is kept.
 *
 * usage: test_devices FOLDER [SEED] */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/rng.h"
#include "check.h"
#include "cpu/cpu.h"
#include "engine/seq.h"
#include "ref/tiny.h"

#define N_GEN 40
#define N_PROMPT 70

/* Times that the hook says: of any program, once + row x rows. */
struct times {
    double once[2], row[2];
    unsigned n_asked;
};

static enum lever_status say_times(void *ctx, struct lever_engine *e, uint32_t device, enum lv_map_program p,
                                   struct lv_stairs *out, struct lever_error *err)
{
    static const uint32_t rows[] = { 1, 2, 4, 8, 16, 32, 64, 128, 256 };
    struct times *t = ctx;

    (void)e;
    (void)p;
    (void)err;
    t->n_asked++;
    *out = (struct lv_stairs){ .n = sizeof rows / sizeof *rows };
    for (uint32_t i = 0; i < out->n; i++) {
        out->rows[i] = rows[i];
        out->seconds[i] = t->once[device] + t->row[device] * rows[i];
    }
    return LEVER_OK;
}

struct run {
    int32_t ids[N_GEN];
    uint32_t n;
};

struct setup {
    const char *target, *draft, *learned_dir;
    struct lv_devices_hook hook;
    bool sampled, streamed;
};

/* A budget in which the draft fits and some of the target is streamed. What the process itself takes is part of it, and
 * grows, with sanitizers by megabytes: it is asked for again before each try. */
static uint64_t short_memory(struct lever_options opt, uint32_t i_try)
{
    struct lever_plan_report plan = { .size = sizeof plan };
    struct lever_error err = { 0 };

    opt.memory_bytes = LEVER_MEMORY_UNLIMITED;
    CHECK(lever_plan(&opt, &plan, &err) >= 0, "%s", err.message);
    return plan.total - (1 << 20) + i_try * (1 << 18);
}

static bool opened(const struct setup *s, lever_engine **e, lever_seq **q)
{
    struct lever_options opt;
    struct lever_sampling sampling;
    struct lever_error err = { 0 };

    lever_options_default(&opt, sizeof opt);
    opt.target_path = s->target;
    opt.draft_path = s->draft;
    opt.learned_dir = s->learned_dir;
    opt.n_threads = 2;
    opt.n_ctx = 256;
    opt.speculation = s->draft ? LEVER_SPEC_TREE : LEVER_SPEC_OFF;
    lever_sampling_default(&sampling, sizeof sampling);
    sampling.ignore_eos = true;
    sampling.temperature = s->sampled ? 0.8f : 0.0f;
    for (uint32_t i = 0;; i++) {
        if (s->streamed)
            opt.memory_bytes = short_memory(opt, i);
        const bool good = lv_engine_open_devices(e, &opt, s->hook.second_level ? &s->hook : NULL, &err) >= 0;

        if (good && (!s->streamed || ((*e)->uses_draft && (*e)->target.stream)))
            break;
        if (i == 20 || !s->streamed) {
            CHECK(false, "%s", good ? "no budget leaves room for the draft alone" : err.message);
            if (good)
                lever_close(*e);
            return false;
        }
        if (good)
            lever_close(*e);
    }
    const bool good = lever_seq_new(*e, &sampling, q, &err) >= 0;

    CHECK(good, "%s", err.message);
    return good;
}

static struct run generated(lever_seq *q, const int32_t *prompt)
{
    struct lever_error err = { 0 };
    struct run out = { .n = 0 };
    size_t n;

    CHECK(q->text && lever_prompt(q, prompt, N_PROMPT, &err) >= 0, "%s", err.message);
    while (out.n < N_GEN) {
        const enum lever_status st = lever_step(q, out.ids + out.n, N_GEN - out.n, &n, &err);

        CHECK(st >= 0, "%s", err.message);
        if (st < 0)
            break;
        out.n += (uint32_t)n;
    }
    return out;
}

static bool closed(lever_engine *e, lever_seq *q)
{
    lever_seq_free(q);
    lever_close(e);
    return true;
}

/* What a forward over so many rows was given. */
static void check_use(lever_engine *e, uint32_t rows, uint32_t device, uint32_t first)
{
    struct lv_instance *m = &e->target;

    lv_instance_use(m, &m->exec, false, rows);
    CHECK(m->exec.k == e->devices.k[device] && (first == rows) == (m->exec.k_rest == NULL) && m->exec.n_first == first,
          "%u rows: kernels %s, %u of them first", rows, m->exec.k->level, m->exec.n_first);
}

/* Runs of a program reached the mapper, and changed what it believes. */
static bool taught(const lever_engine *e, enum lv_map_program p)
{
    return e->devices.map.seen[0][p].fit.n > 0.0 || e->devices.map.seen[1][p].fit.n > 0.0;
}

static void run_cell(const struct setup *s, const struct times *t, const int32_t *prompt, const struct run *want, const char *what)
{
    struct setup with = *s;
    struct times said = *t;
    lever_engine *e = NULL;
    lever_seq *q = NULL;

    with.hook.measure = say_times;
    with.hook.ctx = &said;
    if (!opened(&with, &e, &q))
        return;
    CHECK(e->devices.map.n == 2 && e->target.devices, "%s: %u devices", what, e->devices.map.n);
    CHECK(said.n_asked == (s->draft ? 8u : 4u), "%s: %u staircases were asked for", what, said.n_asked);
    if (t->row[0] > t->row[1] && t->once[0] >= t->once[1]) {
        check_use(e, 1, 1, 1);
        check_use(e, 64, 1, 64);
    } else if (t->once[0] == 0.0 && t->once[1] == 0.0) {
        check_use(e, 40, 0, 40);
    } else { /* many rows pay for what a run on the first device costs at once */
        check_use(e, 1, 1, 1);
        check_use(e, 64, 0, 64);
    }
    const struct run got = generated(q, prompt);

    CHECK(got.n == want->n && memcmp(got.ids, want->ids, want->n * sizeof *want->ids) == 0, "%s: other ids", what);
    CHECK(taught(e, LV_MAP_TARGET_BODY) && taught(e, LV_MAP_TARGET_HEAD), "%s: passes that take another time than was said taught nothing",
          what);
    CHECK(s->streamed || (taught(e, LV_MAP_DRAFT_BODY) && taught(e, LV_MAP_DRAFT_HEAD)), "%s: nor did the draft's batches", what);
    closed(e, q);
}

/* A batch in two parts: 32 rows here, 8 there. */
static void run_cut(const struct setup *s, const int32_t *prompt, const struct run *want)
{
    struct setup with = *s;
    struct times said = { .row = { 1.0, 1.0 } };
    lever_engine *e = NULL;
    lever_seq *q = NULL;

    with.hook.measure = say_times;
    with.hook.ctx = &said;
    if (!opened(&with, &e, &q))
        return;
    for (int p = 0; p < LV_MAP_PROGRAMS; p++) { /* whole tiles of 16 rows are cheap on the first device */
        const struct lv_stairs a = { .n = 5, .rows = { 16, 32, 48, 64, 256 }, .seconds = { 10, 11, 60, 61, 300 } };
        const struct lv_stairs b = { .n = 3, .rows = { 1, 40, 256 }, .seconds = { 0.001, 200, 4000 } };

        e->devices.map.device[0].stepped = true;
        lv_map_set_stairs(&e->devices.map, 0, p, &a);
        lv_map_set_stairs(&e->devices.map, 1, p, &b);
    }
    check_use(e, 40, 0, 32);
    check_use(e, 64, 0, 64);
    e->target.exec.max_rows = 40; /* prompts go in cut passes */
    const struct run got = generated(q, prompt);

    CHECK(got.n == want->n && memcmp(got.ids, want->ids, want->n * sizeof *want->ids) == 0, "cut batches: other ids");
    closed(e, q);
}

/* Without a hook: as many devices as the machine has, and with one nothing is measured or switched. */
static void run_one(const struct setup *s)
{
    struct setup plain = *s;
    lever_engine *e = NULL;
    lever_seq *q = NULL;

    plain.hook = (struct lv_devices_hook){ 0 };
    if (!opened(&plain, &e, &q))
        return;
    const bool unit = !strcmp(e->kern.level, "amx") || !strcmp(e->kern.level, "i8mm");

    CHECK(e->devices.map.n == (unit ? 2u : 1u), "%u devices", e->devices.map.n);
    CHECK(unit || (!e->target.devices && e->target.exec.k == &e->kern && !e->target.exec.k_rest), "one device costs something");
    closed(e, q);
}

static void run_kept(const struct setup *s, const char *dir, const int32_t *prompt)
{
    struct setup with = *s;
    struct times said = { .once = { 1.0, 0.0 }, .row = { 1.0, 2.0 } };

    with.learned_dir = dir;
    with.hook.measure = say_times;
    with.hook.ctx = &said;
    for (int turn = 0; turn < 2; turn++) {
        lever_engine *e = NULL;
        lever_seq *q = NULL;

        if (!opened(&with, &e, &q))
            return;
        CHECK((said.n_asked == 0) == (turn == 1), "turn %d: %u staircases were asked for", turn, said.n_asked);
        CHECK(e->devices.map.device[1].stairs[LV_MAP_DRAFT_HEAD].seconds[0] == 2.0, "not the staircase that was measured");
        generated(q, prompt);
        closed(e, q);
        said.n_asked = 0;
    }
}

/* Without a hook for times: measured ones, of every program, rising. */
static void run_measured(const struct setup *s, const int32_t *prompt, const struct run *want)
{
    lever_engine *e = NULL;
    lever_seq *q = NULL;

    if (!opened(s, &e, &q))
        return;
    for (int p = 0; p < LV_MAP_PROGRAMS; p++)
        for (uint32_t d = 0; d < 2; d++) {
            const struct lv_stairs *x = &e->devices.map.device[d].stairs[p];

            CHECK(x->n >= 4 && x->rows[0] == 1, "program %d, device %u: %u steps", p, d, x->n);
            for (uint32_t i = 0; i < x->n; i++)
                CHECK(x->seconds[i] > 0.0 && x->seconds[i] < 10.0 && (!i || x->seconds[i] >= x->seconds[i - 1]), "step %u: %g s", i,
                      x->seconds[i]);
        }
    const struct run got = generated(q, prompt);

    CHECK(got.n == want->n && memcmp(got.ids, want->ids, want->n * sizeof *want->ids) == 0, "measured times: other ids");
    closed(e, q);
}

static void remove_folder(const char *dir)
{
    DIR *d = opendir(dir);
    char file[900];

    for (struct dirent *x; d && (x = readdir(d));) {
        snprintf(file, sizeof file, "%s/%s", dir, x->d_name);
        if (x->d_name[0] != '.')
            remove(file);
    }
    if (d)
        closedir(d);
    CHECK(rmdir(dir) == 0, "%s is still there", dir);
}

int main(int argc, char **argv)
{
    static const struct times said[] = {
        { .once = { 1, 0.5 }, .row = { 2, 1 } }, /* always the second device */
        { .once = { 0, 0 }, .row = { 1, 2 } },   /* always the first */
        { .once = { 10, 0 }, .row = { 1, 2 } },  /* narrow batches on the second */
    };
    struct tiny_spec spec = { .arch = LV_ARCH_QWEN2, .n_layer = 12, .n_embd = 256, .n_ff = 1024, .n_head = 8,
                              .n_head_kv = 2, .n_vocab = 512, .type = TINY_ALL(LV_TYPE_Q4_K), .seed = 3 };
    struct lv_rng rng = { .state = argc > 2 ? strtoull(argv[2], NULL, 10) : 9 };
    char path[2][600], dir[600];
    struct lever_error err;
    int32_t prompt[N_PROMPT];

    if (argc < 2)
        return 2;
    printf("SEED=%llu\n", (unsigned long long)rng.state);
    spec.type[TINY_DOWN] = LV_TYPE_Q6_K;
    spec.type[TINY_HEAD] = LV_TYPE_Q8_0;
    for (int i = 0; i < 2; i++) {
        snprintf(path[i], sizeof path[i], "%s/devices-%d-%ld.gguf", argv[1], i, (long)getpid());
        spec.jitter = i ? 0.1f : 0.0f;
        if (tiny_write(&spec, path[i], &err) < 0) {
            printf("FAIL write: %s\n", err.message);
            return 1;
        }
    }
    for (unsigned i = 0; i < N_PROMPT; i++)
        prompt[i] = (int32_t)lv_rng_below(&rng, 500);

    /* The lowest vector level below the machine's best, or the reference. */
    const char *other = lv_cpu_level_name(lv_cpu_detect(), 2) ? lv_cpu_level_name(lv_cpu_detect(), 1) : "ref";

    printf("the other device: %s\n", other);
    for (int sampled = 0; sampled < 2; sampled++) {
        struct setup s = { .target = path[0], .sampled = sampled };
        lever_engine *e = NULL;
        lever_seq *q = NULL;

        if (!opened(&s, &e, &q))
            break;
        const struct run want = generated(q, prompt);

        closed(e, q);
        s.draft = path[1];
        s.hook.second_level = other;
        for (int streamed = 0; streamed < 2; streamed++) {
            s.streamed = streamed;
            for (unsigned i = 0; i < sizeof said / sizeof *said; i++) {
                char what[80];

                snprintf(what, sizeof what, "sampled %d, streamed %d, times %u", sampled, streamed, i);
                run_cell(&s, &said[i], prompt, &want, what);
            }
            run_measured(&s, prompt, &want);
        }
        s.streamed = false;
        run_cut(&s, prompt, &want);
        run_one(&s);
        if (!sampled) {
            snprintf(dir, sizeof dir, "%s/devices-%ld", argv[1], (long)getpid());
            run_kept(&s, dir, prompt);
            remove_folder(dir);
        }
    }
    for (int i = 0; i < 2; i++)
        remove(path[i]);
    printf("%d failures\n", n_fail);
    return n_fail ? 1 : 0;
}
