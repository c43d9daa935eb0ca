/* lever_open, lever_close and their options. */
#include "engine/engine.h"

#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"
#include "base/rng.h"
#include "cpu/cpu.h"
#include "engine/candidates.h"
#include "engine/device.h"
#include "engine/peek.h"
#include "engine/prune.h"
#include "engine/sidecar.h"

#ifndef LEVER_VERSION
#define LEVER_VERSION "0.1.0"
#endif

#define DEFAULT_CTX 4096u
#define HEAD_TOKENS 65536u /* of a draft's head where memory is short: 98 % of English text and code */

const char *lever_version(void)
{
    return LEVER_VERSION;
}

void lever_options_default(struct lever_options *opt, size_t size)
{
    const struct lever_options d = { .size = sizeof d };

    memset(opt, 0, size);
    memcpy(opt, &d, size < sizeof d ? size : sizeof d);
    opt->size = size;
}

static void say(const struct lever_engine *e, enum lever_log_level level, const char *message)
{
    if (e->opt.log)
        e->opt.log(e->opt.user, level, message);
}

bool lv_engine_take_options(struct lever_options *out, const struct lever_options *opt)
{
    if (!opt || opt->size < offsetof(struct lever_options, draft_path))
        return false;
    lever_options_default(out, sizeof *out);
    memcpy(out, opt, opt->size < sizeof *out ? opt->size : sizeof *out);
    out->size = sizeof *out;
    return true;
}

/* Copies the options' texts and checks them. */
static enum lever_status take_options(struct lever_engine *e, const struct lever_options *opt, struct lever_error *err)
{
    e->opt = *opt;
    if (!e->opt.target_path)
        return LV_FAIL(err, LEVER_E_ARG, "no target model: set target_path");
    if (e->opt.spec_draft_n_max > (LV_TREE_MAX - 1))
        return LV_FAIL(err, LEVER_E_ARG, "spec_draft_n_max is %u, at most %d", e->opt.spec_draft_n_max,
                       (LV_TREE_MAX - 1));
    e->target_path = lv_strdup(e->opt.target_path);
    e->draft_path = e->opt.draft_path ? lv_strdup(e->opt.draft_path) : NULL;
    e->sidecar = e->opt.sidecar ? lv_strdup(e->opt.sidecar) : NULL;
    e->learned_dir = e->opt.learned_dir ? lv_strdup(e->opt.learned_dir) : NULL;
    e->device = e->opt.device ? lv_strdup(e->opt.device) : NULL;
    e->lens_path = e->opt.lens ? lv_strdup(e->opt.lens) : NULL;
    if (!e->target_path || (e->opt.draft_path && !e->draft_path) || (e->opt.sidecar && !e->sidecar) ||
        (e->opt.learned_dir && !e->learned_dir) || (e->opt.device && !e->device) || (e->opt.lens && !e->lens_path))
        return LV_FAIL(err, LEVER_E_NOMEM, "options");
    e->opt.target_path = e->target_path;
    e->opt.draft_path = e->draft_path;
    e->opt.sidecar = e->sidecar;
    e->opt.learned_dir = e->learned_dir;
    e->opt.device = e->device;
    e->opt.lens = e->lens_path;
    return LEVER_OK;
}

enum lever_status lv_engine_kernels(struct lv_kern *k, const char *level, struct lever_error *err)
{
    const uint32_t have = lv_cpu_detect();
    uint32_t mask = UINT32_MAX;

    if (level) {
        char list[128] = "";
        const char *name;
        bool runs = false;

        for (unsigned i = 0; (name = lv_cpu_level_name(have, i)); i++) {
            const size_t at = strlen(list);

            snprintf(list + at, sizeof list - at, "%s%s", i ? ", " : "", name);
            runs = runs || strcmp(name, level) == 0;
        }
        if (!runs)
            return LV_FAIL(err, LEVER_E_ARG, "CPU level \"%s\" is unknown or not on this machine; it has: %s",
                           level, list);
        mask = lv_cpu_level(level);
    }
    lv_kern_init(k, have & mask);
    return LEVER_OK;
}

/* Vocabularies must agree token by token; padding at the end may differ. */
static enum lever_status check_pair(struct lever_engine *e, struct lever_error *err)
{
    struct lv_tok *t = NULL;
    char a[256], b[256];
    size_t na, nb;

    LV_TRY(lv_tok_open(&t, e->draft.gguf, err));
    const int32_t id = lv_tok_first_difference(e->tok, t);
    enum lever_status st = LEVER_OK;

    if (id >= 0) {
        const char *pa = lv_tok_bytes_of(e->tok, id, true, a, &na), *pb = lv_tok_bytes_of(t, id, true, b, &nb);

        st = LV_FAIL(err, LEVER_E_PAIR,
                     "%s does not have the vocabulary of %s: token %d is \"%.*s\" in the draft and \"%.*s\" in the "
                     "target; choose a draft of the same model family",
                     e->draft_path, e->target_path, (int)id, (int)(nb < 60 ? nb : 60), pb, (int)(na < 60 ? na : 60), pa);
    }
    lv_tok_close(t);
    lv_gguf_drop_arrays(e->draft.gguf);
    return st;
}

/* Weights in kernel layout, if there is a sidecar: the one named, or that beside the model. One that cannot be used is
 * no error: the model has all that is needed. */
static enum lever_status find_sidecar(struct lever_engine *e, struct lv_instance *m, const char *named,
                                      struct lever_error *err)
{
    struct lever_error why = { 0 };
    char line[1200];

    if (e->sidecar && strcmp(e->sidecar, "off") == 0)
        return LEVER_OK;
    char *path = named ? lv_strdup(named) : lv_sidecar_path(lv_gguf_path(m->gguf, 0));
    const enum lever_status st = path ? lv_instance_use_sidecar(m, path, &why) : LEVER_E_NOMEM;

    if (st == LEVER_OK) {
        snprintf(line, sizeof line, "sidecar: weights in kernel layout from %.1000s", path);
        say(e, LEVER_LOG_INFO, line);
    } else if (st < 0 && st != LEVER_E_NOMEM) {
        snprintf(line, sizeof line, "sidecar ignored: %s (lever pack makes a new one)", why.message);
        say(e, LEVER_LOG_WARN, line);
    }
    lv_free(path);
    if (st == LEVER_E_NOMEM)
        return LV_FAIL(err, st, "sidecar: no memory");
    if (st == LEVER_DONE && named)
        return LV_FAIL(err, LEVER_E_IO, "sidecar %s: there is no such file; make it with lever pack -o, or use --sidecar off",
                       named);
    return LEVER_OK;
}

static void shrink_head(struct lv_program *draft, uint32_t how)
{
    if (how == LEVER_HEAD_Q4)
        lv_program_head_q4(draft);
    else if (how != LEVER_HEAD_AUTO && how != LEVER_HEAD_FULL)
        lv_program_cut_head(draft, how);
}

static uint64_t hash_text(uint64_t h, const char *text)
{
    return lv_sidecar_hash(h ^ lv_mix64(strlen(text)), (const uint8_t *)text, strlen(text));
}

uint64_t lv_engine_hash_model(uint64_t h, const struct lv_gguf *g)
{
    struct lv_str name;

    for (uint32_t i = 0; i < lv_gguf_n_files(g); i++)
        h = lv_mix64(h ^ lv_gguf_file_bytes(g, i));
    if (lv_gguf_get_str(g, "general.name", &name, NULL) == LEVER_OK)
        h = lv_sidecar_hash(h, (const uint8_t *)name.s, name.len);
    for (uint32_t i = 0; i < lv_gguf_n_tensors(g); i++) {
        const struct lv_tensor *t = lv_gguf_tensor(g, i);

        h = hash_text(lv_mix64(h ^ t->off ^ (uint64_t)t->type << 56), t->name);
    }
    return h;
}

static void open_learned(struct lever_engine *e)
{
    uint64_t h = hash_text(lv_pool_n(e->pool), e->kern.level);

    for (uint32_t i = 1; i < e->devices.map.n; i++)
        h = hash_text(h, e->devices.map.device[i].name);
    lv_learned_init(&e->learned);
    lv_judge_init(&e->judge);
    for (uint32_t i = 0; i < e->lens.n; i++) /* corrections are of one lens */
        h = lv_sidecar_hash(h ^ e->lens.layer[i].depth, (const uint8_t *)e->lens.layer[i].weight, sizeof e->lens.layer[i].weight);
    if (!e->learned_dir)
        return;
    if (e->draft.device) /* its times are another's */
        h = hash_text(h, lv_accel_caps(e->accel)->name);
    h = lv_engine_hash_model(h, e->target.gguf);
    e->learned_key = e->has_draft ? lv_engine_hash_model(h, e->draft.gguf) : h;
    if (lv_learned_load(&e->learned, e->learned_dir, e->learned_key))
        say(e, LEVER_LOG_INFO, "begins with what was learned of these models before");
}

static enum lever_status plan_memory(struct lever_engine *e, struct lever_error *err)
{
    const struct lv_shape *s = &e->target.program->shape;
    uint32_t n_ctx = e->opt.n_ctx;

    if (n_ctx > s->n_ctx_train)
        return LV_FAIL(err, LEVER_E_ARG, "a context of %u is asked for, but %s was trained for %u; use a smaller -c", n_ctx,
                       e->target_path, s->n_ctx_train);
    if (!n_ctx)
        n_ctx = s->n_ctx_train < DEFAULT_CTX ? s->n_ctx_train : DEFAULT_CTX;
    e->opt.n_ctx = n_ctx;
    if (e->opt.memory_bytes == LEVER_MEMORY_AUTO)
        e->opt.memory_bytes = lv_memory_available();
    const bool want_draft = e->has_draft && e->opt.speculation != LEVER_SPEC_OFF;
    const struct lv_plan_input in = { .target = &e->target,
                                      .draft = want_draft ? &e->draft : NULL,
                                      .draft_on_host_device = e->accel && lv_accel_caps(e->accel)->unified,
                                      .peek = lv_peek_wanted(&e->opt),
                                      .draft_must_win = e->opt.speculation == LEVER_SPEC_AUTO,
                                      .budget = e->opt.memory_bytes,
                                      .base_bytes = lv_memory_resident() + lv_candidates_bytes(&e->opt) + e->vocab_bytes,
                                      .n_worker = lv_pool_n(e->pool),
                                      .n_ctx = n_ctx,
                                      .ring_bytes = e->opt.ring_bytes,
                                      .slot_bytes = e->opt.slot_bytes };
    char line[200];

    LV_TRY(lv_plan(&e->plan, &in, err));
    /* Where memory is short the draft's head is cut, unless asked otherwise: what it frees is pinned. */
    if (want_draft && e->opt.draft_head == LEVER_HEAD_AUTO && (!e->plan.use_draft || e->plan.target.n_ring_slot)) {
        shrink_head(e->draft.program, HEAD_TOKENS);
        LV_TRY(lv_plan(&e->plan, &in, err));
    }
    e->uses_draft = e->plan.use_draft;
    if (e->uses_draft && lv_engine_draft_tokens(e) < e->draft.program->shape.n_vocab) {
        snprintf(line, sizeof line, "plan: the draft's head is cut to %u of %u tokens", lv_engine_draft_tokens(e),
                 e->draft.program->shape.n_vocab);
        say(e, LEVER_LOG_INFO, line);
    }
    if (lv_engine_no_draft(e))
        say(e, LEVER_LOG_WARN, lv_engine_no_draft(e));
    for (uint32_t i = 0; i < e->plan.n_item; i++) {
        snprintf(line, sizeof line, "plan: %-28s %8.1f MiB", e->plan.item[i].name,
                 (double)e->plan.item[i].bytes / 1048576.0);
        say(e, LEVER_LOG_INFO, line);
    }
    snprintf(line, sizeof line, "plan: %-28s %8.1f MiB, %.1f MiB streamed a pass", "total",
             (double)e->plan.total / 1048576.0, (double)e->plan.streamed_bytes / 1048576.0);
    say(e, LEVER_LOG_INFO, line);
    return LEVER_OK;
}

const char *lv_engine_no_draft(const struct lever_engine *e)
{
    if (!e->has_draft || e->uses_draft || e->opt.speculation == LEVER_SPEC_OFF)
        return NULL;
    if (e->draft_released)
        return "the draft was released: decoding without it is faster with weights in its place";
    return e->plan.draft_loses
               ? "decoding without the draft: its memory serves better for weights (--speculation tree keeps it)"
               : "the draft does not fit the memory budget beside the target: decoding without it";
}

static uint64_t load_total(const struct lv_program *p, uint64_t pin_bytes)
{
    uint64_t n = 0;

    for (uint32_t i = 0; i < p->n_w; i++)
        n += p->w[i].bytes;
    return n < pin_bytes ? n : pin_bytes;
}

/* What the target's reader could not do as asked. */
static void tell_reader(const struct lever_engine *e)
{
    const char *note = lv_reader_note(e->target.reader);

    if (note)
        say(e, LEVER_LOG_WARN, note);
    else if (e->opt.reader != LEVER_READER_BUFFERED && e->target.stream &&
             strcmp(lv_reader_mode(e->target.reader), "direct") != 0)
        say(e, LEVER_LOG_WARN, "direct reads are refused here: reading through the page cache, which costs CPU time");
}

static enum lever_status load(struct lever_engine *e, struct lever_error *err)
{
    struct lv_reader_options io = { .method = e->opt.reader == LEVER_READER_URING ? LV_READER_URING : LV_READER_PREAD,
                                    .n_threads = 4,
                                    .n_urgent = 1, /* embedding rows */
                                    .direct = e->opt.reader != LEVER_READER_BUFFERED,
                                    .ops = e->io_ops };
    struct lv_load_progress pr = { .fn = e->opt.progress, .user = e->opt.user };

    pr.total = load_total(e->target.program, e->plan.target.pin_bytes);
    if (e->uses_draft)
        pr.total += load_total(e->draft.program, UINT64_MAX);
    LV_TRY(lv_instance_load(&e->target, &e->plan.target, &e->kern, e->pool, &io, &pr, err));
    tell_reader(e);
    io.method = LV_READER_PREAD; /* the draft is read once */
    if (!e->uses_draft)
        return LEVER_OK;
    LV_TRY(lv_instance_load(&e->draft, &e->plan.draft, &e->kern, e->pool, &io, &pr, err));
    LV_TRY(lv_embed_try_head(&e->draft.embed, e->draft.exec.buf[LV_BUF_X], e->draft.exec.buf[LV_BUF_T], err));
    return lv_device_load(e, err);
}

static enum lever_status open_vocab(struct lever_engine *e, struct lever_error *err)
{
    const struct lv_gguf *g = lv_engine_gguf(e, 0);

    LV_TRY(lv_tok_open(&e->tok, g, err));
    e->chat = lv_chat_detect(g);
    if (e->opt.vocab_only)
        return LEVER_OK;
    lv_gguf_drop_arrays(e->target.gguf);
    if (lv_tok_n_vocab(e->tok) > e->target.program->shape.n_vocab)
        return LV_FAIL(err, LEVER_E_MODEL, "%s: the tokenizer has %u tokens, token_embd.weight only %u rows", e->target_path,
                       lv_tok_n_vocab(e->tok), e->target.program->shape.n_vocab);
    return LEVER_OK;
}

enum lever_status lv_engine_open_planned(struct lever_engine *e, const struct lever_options *opt,
                                         struct lever_error *err)
{
    LV_TRY(take_options(e, opt, err));
    if (e->opt.vocab_only)
        LV_TRY(lv_gguf_open(&e->vocab_gguf, e->target_path, err));
    else
        LV_TRY(lv_instance_open(&e->target, e->target_path, err));
    if (!e->vocab_bytes)
        LV_TRY(open_vocab(e, err));
    if (e->opt.vocab_only)
        return LEVER_OK;
    if (e->draft_path) {
        LV_TRY(lv_instance_open(&e->draft, e->draft_path, err));
        e->has_draft = true;
        if (!e->vocab_bytes)
            LV_TRY(check_pair(e, err));
        LV_TRY(find_sidecar(e, &e->draft, NULL, err));
        shrink_head(e->draft.program, e->opt.draft_head);
    }
    LV_TRY(find_sidecar(e, &e->target, e->sidecar, err));
    LV_TRY(lv_engine_kernels(&e->kern, e->opt.cpu_level, err));
    LV_TRY(lv_devices_init(&e->devices, &e->kern, e->opt.cpu_level != NULL, err));
    LV_TRY(lv_pool_new(&e->pool, e->opt.n_threads, err));
    LV_TRY(lv_device_open(e, err)); /* before the plan: what a driver takes is seen there */
    LV_TRY(lv_prune_open(e, err));
    return plan_memory(e, err);
}

static enum lever_status open_engine(struct lever_engine *e, const struct lever_options *opt, struct lever_error *err)
{
    const uint64_t t0 = lv_now_ns();

    LV_TRY(lv_engine_open_planned(e, opt, err));
    if (e->opt.vocab_only)
        return LEVER_OK;
    LV_TRY(load(e, err));
    open_learned(e);
    e->seconds_load = lv_seconds(lv_now_ns() - t0);
    return LEVER_OK;
}

static enum lever_status open_with(lever_engine **out, const struct lever_options *opt, const struct lv_io_ops *ops,
                                   struct lv_accel_hooks *accel, const struct lv_devices_hook *hook, struct lever_error *err)
{
    struct lever_options o;

    if (!out || !lv_engine_take_options(&o, opt))
        return LV_FAIL(err, LEVER_E_ARG, "lever_open: out and opt (made by lever_options_default) are required");
    struct lever_engine *e = LV_NEW(struct lever_engine);

    if (!e)
        return LV_FAIL(err, LEVER_E_NOMEM, "engine: %zu bytes", sizeof *e);
    if (ops)
        e->io_ops = *ops;
    e->accel_hooks = accel;
    if (hook)
        e->devices.hook = *hook;
    const enum lever_status st = open_engine(e, &o, err);

    if (st < 0) {
        lever_close(e);
        return st;
    }
    *out = e;
    return LEVER_OK;
}

enum lever_status lever_open(lever_engine **out, const struct lever_options *opt, struct lever_error *err)
{
    return open_with(out, opt, NULL, NULL, NULL, err);
}

enum lever_status lv_engine_open_hooked(lever_engine **out, const struct lever_options *opt,
                                        const struct lv_io_ops *ops, struct lever_error *err)
{
    return open_with(out, opt, ops, NULL, NULL, err);
}

enum lever_status lv_engine_open_hooks(lever_engine **out, const struct lever_options *opt, const struct lv_io_ops *ops,
                                       struct lv_accel_hooks *accel, struct lever_error *err)
{
    return open_with(out, opt, ops, accel, NULL, err);
}

enum lever_status lv_engine_open_devices(lever_engine **out, const struct lever_options *opt,
                                         const struct lv_devices_hook *hook, struct lever_error *err)
{
    return open_with(out, opt, NULL, NULL, hook, err);
}

void lever_close(lever_engine *e)
{
    if (!e)
        return;
    if (e->learned_more && e->learned_dir && !lv_learned_save(&e->learned, e->learned_dir, e->learned_key))
        say(e, LEVER_LOG_INFO, "what was learned could not be kept");
    lv_device_close(e); /* it bumps the target's event */
    lv_instance_close(&e->target);
    lv_instance_close(&e->draft);
    lv_gguf_close(e->vocab_gguf);
    lv_tok_close(e->tok);
    lv_pool_free(e->pool);
    lv_free(e->target_path);
    lv_free(e->draft_path);
    lv_free(e->sidecar);
    lv_free(e->learned_dir);
    lv_free(e->device);
    lv_free(e->lens_path);
    lv_lens_close(&e->lens);
    lv_free(e);
}
