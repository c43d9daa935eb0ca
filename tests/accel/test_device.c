/* A draft on a device, through lever.h: the ids of the CPU, whatever becomes of the device.
 *
 * usage: test_device FOLDER [SEED]
 *
 * Greedy and sampled, resident and streamed; a library that is not there, kernels that do not compile, a device lost at every
 * stage: each is warned of exactly once and the ids stay. Then objects of the library are counted over many openings. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <lever/lever.h>

#include "accel/accel_kit.h"
#include "accel/backend.h"
#include "base/mem.h"
#include "base/rng.h"
#include "engine/plan.h"
#include "engine/seq.h"
#include "ref/tiny.h"

#define N_GEN 40
#define N_PROMPT 30
#define N_CYCLE 1000 /* of models; N_OPEN of whole devices */
#define N_OPEN 25

static uint64_t seed = 3;

struct run {
    int32_t ids[N_GEN];
    uint32_t n, n_warn;
    bool on_device; /* at the end */
    bool streamed;
    uint64_t n_batches;
    char warning[300];
};

struct way {
    const char *device;
    uint64_t memory;
    struct lv_accel_hooks *hooks;
    int64_t lose_after; /* kernels after the prompt */
    bool rewind;
};

static void on_log(void *user, enum lever_log_level level, const char *message)
{
    struct run *r = user;

    if (level != LEVER_LOG_WARN)
        return;
    r->n_warn++;
    snprintf(r->warning, sizeof r->warning, "%s", message);
}

static bool fail(const char *what, const struct lever_error *err)
{
    printf("FAIL %s: %s\n", what, err->message);
    return false;
}

static bool generate(const char *target, const char *draft, const struct way *w, const struct lever_sampling *s,
                     const int32_t *prompt, struct run *out)
{
    struct lever_options opt;
    struct lever_error err = { 0 };
    lever_engine *e = NULL;
    lever_seq *q = NULL;
    bool ok, rewound = !w->rewind;

    *out = (struct run){ 0 };
    lever_options_default(&opt, sizeof opt);
    opt.target_path = target;
    opt.draft_path = draft;
    opt.n_threads = 2;
    opt.n_ctx = 128;
    opt.memory_bytes = w->memory;
    opt.speculation = LEVER_SPEC_TREE;
    opt.device = w->device;
    opt.log = on_log;
    opt.user = out;
    if (w->memory) {
        opt.slot_bytes = 65536;
        opt.ring_bytes = 4 * 65536;
    }
    if (lv_engine_open_hooks(&e, &opt, NULL, w->hooks, &err) < 0 || lever_seq_new(e, s, &q, &err) < 0)
        ok = fail("open", &err);
    else
        ok = lever_prompt(q, prompt, N_PROMPT, &err) >= 0 || fail("prompt", &err);
    if (w->hooks && w->lose_after)
        atomic_store(&w->hooks->lose_after, w->lose_after);
    while (ok && out->n < N_GEN) {
        size_t n;
        const enum lever_status st = lever_step(q, out->ids + out->n, N_GEN - out->n, &n, &err);

        ok = st >= 0 || fail("step", &err);
        out->n += (uint32_t)n;
        if (st == LEVER_DONE)
            break;
        if (ok && !rewound && out->n > N_GEN / 2) { /* further back than the spine, and on from there */
            rewound = true;
            ok = lever_rewind(q, out->n - 3, &err) >= 0 || fail("rewind", &err);
            out->n = 3;
        }
    }
    if (ok) {
        out->on_device = e->draft.device != NULL;
        out->n_batches = q->draft.n_batches;
        out->streamed = e->target.stream != NULL;
    }
    lever_seq_free(q);
    lever_close(e);
    return ok;
}

static bool same(const struct run *a, const struct run *b, const char *what)
{
    if (a->n == b->n && memcmp(a->ids, b->ids, a->n * sizeof *a->ids) == 0)
        return true;
    printf("FAIL %s: %u ids, on the CPU %u, or others (SEED=%llu)\n", what, a->n, b->n, (unsigned long long)seed);
    return false;
}

/* n_warn: expected warnings; device: where the draft is to be at the end. */
static bool check(const char *what, const char *target, const char *draft, const struct way *w,
                  const struct lever_sampling *s, const int32_t *prompt, const struct run *want, uint32_t n_warn, bool device)
{
    struct run got;

    if (!generate(target, draft, w, s, prompt, &got) || !same(&got, want, what))
        return false;
    if (got.n_warn != n_warn || got.on_device != device || (device && !got.n_batches)) {
        printf("FAIL %s: %u warnings (%s), %u expected; draft on the device: %d, %d expected; %llu batches\n", what, got.n_warn,
               got.warning, n_warn, got.on_device, device, (unsigned long long)got.n_batches);
        return false;
    }
    if (w->memory && !got.streamed) {
        printf("FAIL %s: nothing is streamed\n", what);
        return false;
    }
    if (w->hooks && atomic_load(&w->hooks->n_live)) {
        printf("FAIL %s: %lld objects are left\n", what, (long long)atomic_load(&w->hooks->n_live));
        return false;
    }
    return true;
}

/* What the pair takes together on the device when all is resident. Also: the plan has an item for it. */
static uint64_t whole_memory(const char *target, const char *draft)
{
    struct lever_options opt;
    struct lever_error err = { 0 };
    struct lever_plan_report cpu = { .size = sizeof cpu }, device = { .size = sizeof device };

    lever_options_default(&opt, sizeof opt);
    opt.target_path = target;
    opt.draft_path = draft;
    opt.speculation = LEVER_SPEC_TREE;
    opt.n_ctx = 128;
    opt.n_threads = 2;
    opt.device = "opencl";
    if (lever_plan(&opt, &device, &err) < 0)
        return fail("plan", &err);
    opt.device = "cpu";
    if (lever_plan(&opt, &cpu, &err) < 0)
        return fail("plan", &err);
    if (device.n_item != cpu.n_item + 1)
        printf("the plan has no item for the device: its memory is not the host's\n");
    return device.total;
}

static unsigned check_sampling(unsigned is, const char *target, const char *draft, struct lv_rng *rng)
{
    struct lever_sampling s;
    struct lv_accel_hooks hooks = { 0 }, missing = { .library = "libNoSuchOpenCL.so.9" },
                          broken = { .build_options = "-Drms_norm=9" };
    const struct way cpu = { .device = "cpu" };
    struct run want;
    int32_t prompt[N_PROMPT];
    unsigned n_bad = 0;
    char what[60];

    for (unsigned i = 0; i < N_PROMPT; i++)
        prompt[i] = (int32_t)lv_rng_below(rng, 500);
    lever_sampling_default(&s, sizeof s);
    s.ignore_eos = true;
    s.temperature = is ? 0.8f : 0.0f;
    s.top_k = is == 2 ? 30 : 0;
    s.top_p = is == 2 ? 0.9f : 1.0f;
    s.repeat_penalty = is == 1 ? 1.1f : 1.0f;
    s.seed = is;
    if (!generate(target, draft, &cpu, &s, prompt, &want))
        return 1;
    const struct way rewind = { .device = "opencl", .hooks = &hooks, .rewind = true };
    /* Little enough to stream a part, enough for draft and driver. */
    const uint64_t streamed = whole_memory(target, draft) - (1 << 20);
    const struct way stream = { .device = "opencl", .hooks = &hooks, .memory = streamed };

    n_bad += !check("on the device, with a rewind", target, draft, &rewind, &s, prompt, &want, 0, true);
    n_bad += !check("beside a stream", target, draft, &stream, &s, prompt, &want, 0, true);
    n_bad += !check("no library", target, draft, &(struct way){ .device = "opencl", .hooks = &missing }, &s, prompt, &want, 1,
                    false);
    n_bad += !check("kernels that do not compile", target, draft, &(struct way){ .device = "opencl", .hooks = &broken }, &s,
                    prompt, &want, 1, false);
    for (int i = 0; i < 3; i++) {
        struct lv_accel_hooks lost = { 0 };
        const struct way w = { .device = "opencl", .hooks = &lost, .lose_after = 1 + (int64_t)lv_rng_below(rng, i ? 700 : 20),
                               .memory = i == 2 ? whole_memory(target, draft) - (1 << 20) : 0 };

        snprintf(what, sizeof what, "lost after %lld kernels", (long long)w.lose_after);
        n_bad += !check(what, target, draft, &w, &s, prompt, &want, 1, false);
    }
    return n_bad;
}

/* Openings and closings; the library's objects are counted, and the process must not grow. */
static bool check_cycles(const char *path)
{
    struct lv_accel_hooks hooks = { 0 };
    struct lv_instance m;
    struct lv_accel *a = NULL;
    struct lever_error err = { 0 };
    struct lv_kv kv;
    struct lv_arena arena = { 0 }, count = { 0 };
    uint64_t before = 0;
    static uint8_t weights[1 << 20];
    bool ok = lv_instance_open(&m, path, &err) >= 0;

    if (!ok)
        return fail("open", &err);
    lv_kv_init(&kv, m.program, 64, 64, &count);
    ok = lv_arena_init(&arena, count.used_bytes, false) && lv_kv_init(&kv, m.program, 64, 64, &arena);
    for (uint32_t i = 0; i < m.program->n_w; i++) { /* any bytes do */
        struct lv_weight *w = &m.program->w[i];

        w->seg = LV_NEW_ARRAY(struct lv_segment, 1);
        w->n_seg = 1;
        w->seg[0] = (struct lv_segment){ .n_groups = w->n_groups, .r32 = weights };
        ok = ok && w->n_groups * w->group_bytes <= sizeof weights;
    }
    for (uint32_t i = 0; i < m.program->n_v; i++)
        m.program->v[i].data = (const float *)weights;
    for (int i = 0; i < N_OPEN && ok; i++) {
        ok = lv_accel_open(&a, "opencl", lv_accel_types(m.program), &hooks, &err) >= 0 || fail("open", &err);
        for (int k = 0; k < N_CYCLE / N_OPEN && ok; k++) {
            struct lv_accel_model *dm;

            ok = lv_accel_load(&dm, a, m.program, &kv, 8, &err) >= 0 || fail("load", &err);
            if (ok)
                lv_accel_unload(dm);
        }
        lv_accel_close(a);
        if (i == N_OPEN / 2)
            before = lv_memory_resident();
    }
    const uint64_t after = lv_memory_resident(), n_half = N_OPEN - N_OPEN / 2 - 1;

    printf("%d openings of %d models: %lld objects made, %lld left, %lld KiB more in the last %llu openings\n", N_OPEN,
           N_CYCLE / N_OPEN, (long long)atomic_load(&hooks.n_made), (long long)atomic_load(&hooks.n_live),
           ((long long)after - (long long)before) / 1024, (unsigned long long)n_half);
    if (ok && (atomic_load(&hooks.n_live) || after > before + (n_half << 20))) {
        printf("FAIL a cycle leaves something behind\n");
        ok = false;
    }
    lv_arena_deinit(&arena);
    lv_instance_close(&m);
    return ok;
}

int main(int argc, char **argv)
{
    struct tiny_spec target = { .arch = LV_ARCH_LLAMA, .n_layer = 16, .n_embd = 256, .n_ff = 512, .n_head = 4, .n_head_kv = 2,
                                .n_vocab = 512, .type = TINY_ALL(LV_TYPE_Q4_K), .seed = 3 };
    struct tiny_spec draft = target, small = { .arch = LV_ARCH_QWEN2, .n_head_kv = 2, .type = TINY_ALL(LV_TYPE_Q8_0), .seed = 9 };
    char path[3][600];
    struct lever_error err;
    unsigned n_bad = 0;
    const int rc = kit_begin(argc, argv, &seed);

    if (rc)
        return rc;
    struct lv_rng rng = { .state = seed };

    target.type[TINY_DOWN] = LV_TYPE_Q6_K;
    target.type[TINY_HEAD] = LV_TYPE_Q8_0;
    draft.n_layer = 3;
    draft.jitter = 0.05f;
    for (int i = 0; i < 3; i++) {
        snprintf(path[i], sizeof path[i], "%s/device-%d-%d.gguf", argv[1], i, (int)getpid());
        if (tiny_write(i == 0 ? &target : i == 1 ? &draft : &small, path[i], &err) < 0)
            return fail("write", &err) ? 0 : 1;
    }
    for (unsigned is = 0; is < 3; is++)
        n_bad += check_sampling(is, path[0], path[1], &rng);
    n_bad += !check_cycles(path[2]);
    for (int i = 0; i < 3; i++)
        remove(path[i]);
    printf("%u failures\n", n_bad);
    return n_bad ? 1 : 0;
}
