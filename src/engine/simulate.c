/* lever_simulate: a plan on a device, round by round in virtual time. (sim/sim.h) */
#include <math.h>
#include <string.h>

#include "base/status.h"
#include "engine/draft.h"
#include "sim/sim.h"

#define MAC_SHARE 0.5     /* of the int8 peak, for a device without a staircase */
#define FMA_SHARE 0.35    /* of the f32 peak that attention reaches: bench kernels, 0.3 to 0.5 by shape */
#define ACCEL_ATTN 0.25   /* of its matmul rate that an accelerator reaches in attention */
#define FMA_OF_MAC 0.1    /* f32 peak of the int8 one, for a device that names no f32 peak */
#define PACK_RATE 3e9     /* bytes/s a thread brings into kernel layout, where the profile does not say */
#define OP_SECONDS 8e-6   /* a step that ends in a meeting of the threads */
#define PEEK_AT 0.875     /* as engine/peek.h */
#define PEEK_HIT 0.6      /* rounds whose next root a look had in the tree; from traces, see docs/cost-model.md */
#define DEPTH_MAX 64u
#define TOKENS 768

static const uint32_t row_counts[] = { 1, 2, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256 };
#define N_ROWS (sizeof row_counts / sizeof *row_counts)
static const uint32_t chains[] = { 3, 5, 7, 11, 15, 23, 31 };
#define N_CHAIN (sizeof chains / sizeof *chains)

_Static_assert(N_ROWS <= LV_STAIRS_MAX, "room for all row counts");

void lever_simulation_options_default(struct lever_simulation_options *opt, size_t size)
{
    const struct lever_simulation_options d = { .size = sizeof d,
                                                .mode = LEVER_SIM_LEVER,
                                                .tokens = TOKENS,
                                                .seed = 1,
                                                .prune_at = 0.5f,
                                                .peek_hit = -1.0f };

    memset(opt, 0, size);
    memcpy(opt, &d, size < sizeof d ? size : sizeof d);
    opt->size = size;
}

/* ---- staircases ---------------------------------------------------------------------- */

/* What one model costs on the device. */
struct model_cost {
    double macs, attn_macs; /* of a row; of a row and position */
    double traffic;         /* bytes over the memory bus a pass, whatever the rows */
    double extra;           /* seconds whatever the rows */
};

/* A step of a profile's list as it lies in struct lever_profile. */
struct step {
    uint32_t rows;
    double seconds;
};

/* Seconds a weight at a row count: linear between two steps, in proportion beyond. */
static double at_rows(const struct step *s, uint32_t n, double rows)
{
    for (uint32_t i = 0; i < n; i++) {
        if (rows > s[i].rows)
            continue;
        if (!i)
            return s[i].seconds;
        return s[i - 1].seconds + (s[i].seconds - s[i - 1].seconds) * (rows - s[i - 1].rows) / (s[i].rows - s[i - 1].rows);
    }
    return s[n - 1].seconds * rows / s[n - 1].rows;
}

static double cpu_seconds(const struct lever_profile *d, double macs, double rows)
{
    struct step s[LEVER_PROFILE_STAIRS];

    for (uint32_t i = 0; i < d->n_stair; i++)
        s[i] = (struct step){ d->stair[i].rows, d->stair[i].seconds };
    if (d->n_stair)
        return at_rows(s, d->n_stair, rows) * macs;
    return d->peak_mac > 0 ? rows * macs / (MAC_SHARE * d->peak_mac) : 0;
}

static double accel_seconds(const struct lever_profile *d, double macs, double rows)
{
    struct step s[LEVER_PROFILE_STAIRS];

    for (uint32_t i = 0; i < d->n_accel; i++)
        s[i] = (struct step){ d->accel[i].rows, d->accel[i].seconds };
    return d->n_accel ? at_rows(s, d->n_accel, rows) * macs + d->accel_submit : HUGE_VAL;
}

/* Matmuls and attention of a pass, where they are done first. */
static double compute_seconds(const struct lever_profile *d, const struct model_cost *m, double rows, double context, bool accel)
{
    const double fma = FMA_SHARE * (d->fma > 0 ? d->fma : FMA_OF_MAC * d->peak_mac), attn = rows * context * m->attn_macs;
    const double cpu = cpu_seconds(d, m->macs, rows) + (fma > 0 ? attn / fma : 0.0);

    if (!accel || !d->n_accel)
        return cpu;
    const double rate = ACCEL_ATTN * d->accel[d->n_accel - 1].rows / d->accel[d->n_accel - 1].seconds;
    const double other = accel_seconds(d, m->macs, rows) + attn / rate;

    return cpu < other ? cpu : other;
}

/* More rows never take less. */
static void stairs(struct lv_stairs *out, const struct lever_profile *d, const struct model_cost *m, uint32_t context,
                   uint32_t max_rows, bool accel)
{
    double last = 0.0;

    *out = (struct lv_stairs){ .n = 0 };
    for (uint32_t i = 0; i < N_ROWS && (row_counts[i] <= max_rows || i == 0); i++) {
        const double compute = compute_seconds(d, m, row_counts[i], context, accel), traffic = m->traffic / d->dram;
        const double t = (compute > traffic ? compute : traffic) + m->extra;

        last = t > last ? t : last;
        out->rows[out->n] = row_counts[i];
        out->seconds[out->n++] = last;
    }
}

/* The device computes passes of 32 rows elsewhere: then the CPU is free to draft beside them. */
static bool target_apart(const struct lever_plan_report *p, const struct lever_profile *d)
{
    return accel_seconds(d, (double)p->macs_per_row, 32) < cpu_seconds(d, (double)p->macs_per_row, 32);
}

static void configure(struct lv_sim_config *c, const struct lever_plan_report *p, const struct lever_profile *d,
                      const struct lever_simulation_options *o)
{
    const uint32_t context = o->context ? o->context : p->n_ctx / 2;
    const double streamed = (double)p->streamed_bytes, body = (double)(p->pinned_bytes - (p->stream_head ? 0 : p->head_bytes));
    const bool apart = target_apart(p, d);
    const double pack = p->packed || apart ? 0.0 : streamed / ((d->pack > 0 ? d->pack : PACK_RATE) * (d->n_threads ? d->n_threads : 1));
    /* A streamed byte crosses the memory bus twice: as it is used and, beside a pass, as it arrives. */
    const struct model_cost target = { (double)p->macs_per_row, (double)p->attn_macs, body + (o->serial_stream ? 1 : 2) * streamed,
                                       pack + p->n_op * OP_SECONDS };
    const struct model_cost draft = { (double)p->draft_macs, (double)p->draft_attn_macs, (double)p->draft_bytes,
                                      p->draft_ops * OP_SECONDS };
    const struct model_cost head = { (double)p->head_macs, 0.0, (double)p->head_bytes, 2 * OP_SECONDS };
    uint32_t rows = p->max_rows;

    rows = o->tree_rows && o->tree_rows < rows ? o->tree_rows : rows;
    *c = (struct lv_sim_config){
        .mode = (enum lv_sim_mode)o->mode,
        .t_fixed = 0.0,
        .n_extent = p->streamed_bytes ? p->n_extent : 0,
        .n_slot = o->serial_stream ? 1 : p->n_slot,
        .rests = o->serial_stream,
        .pinned_share = streamed + body > 0 ? body / (streamed + body) : 0.0,
        .max_rows = rows < LV_TREE_MAX ? rows : LV_TREE_MAX,
        .max_depth = DEPTH_MAX,
        .chain_k = o->chain,
        .n_child = LV_DRAFT_CHILDREN,
        .lookup = o->mode == LEVER_SIM_TREE || o->mode == LEVER_SIM_LEVER,
        .apart = apart && o->mode == LEVER_SIM_LEVER,
        .peek_at = PEEK_AT,
        .peek_hit = p->peek && o->mode == LEVER_SIM_LEVER ? (double)(o->peek_hit < 0 ? (float)PEEK_HIT : o->peek_hit) : 0.0,
        .prune_at = (double)o->prune_at,
        .prune_rows = (double)o->prune_rows,
        .prune_lost = (double)o->prune_lost,
        .prune_knows = (double)o->prune_knows,
        .n_tokens = o->tokens ? o->tokens : TOKENS,
        .seed = o->seed,
        .text_tokens = o->text,
    };
    if (c->n_extent)
        c->read_seconds = streamed / d->flash_rate / c->n_extent;
    stairs(&c->target, d, &target, context, c->max_rows, true);
    if (p->uses_draft)
        stairs(&c->draft, d, &draft, context, LV_DRAFT_ROWS, true);
    if (c->apart) /* the accelerator is busy: the CPU drafts */
        stairs(&c->beside, d, &draft, context, LV_DRAFT_ROWS, false);
    stairs(&c->head, d, &head, 0, LV_HEAD_ROWS, true);
}

/* ---- results --------------------------------------------------------------------------- */

static struct lever_simulation_task summary(const struct lv_sim_result *r, const struct lv_sim_config *c)
{
    const double n = (double)r->n_round, busy = r->compute + r->head + r->exposed + r->beside;

    return (struct lever_simulation_task){
        .tok_per_s = (double)r->n_token / r->seconds,
        .tokens_per_round = (double)r->n_token / n,
        .rows_per_round = (double)r->n_row / n,
        .round_seconds = r->seconds / n,
        .stream_seconds = c->n_extent * c->read_seconds,
        .target_seconds = r->compute / n,
        .head_seconds = r->head / n,
        .exposed_seconds = r->exposed / n,
        .beside_seconds = r->beside / n,
        .wait_seconds = r->waited / n,
        .device_idle = c->n_extent && r->device_busy < r->seconds ? 1.0 - r->device_busy / r->seconds : c->n_extent ? 0.0 : 1.0,
        .cpu_idle = busy < r->seconds ? 1.0 - busy / r->seconds : 0.0,
        .bonus_in_tree = (double)r->n_bonus_in_tree / n,
        .rounds = r->n_round,
    };
}

static void add(struct lv_sim_result *sum, const struct lv_sim_result *r)
{
    sum->n_round += r->n_round;
    sum->n_token += r->n_token;
    sum->n_row += r->n_row;
    sum->n_batch += r->n_batch;
    sum->n_bonus_in_tree += r->n_bonus_in_tree;
    sum->seconds += r->seconds;
    sum->exposed += r->exposed;
    sum->beside += r->beside;
    sum->compute += r->compute;
    sum->head += r->head;
    sum->waited += r->waited;
    sum->device_busy += r->device_busy;
}

static enum lever_status run_tasks(struct lever_simulation *out, const struct lv_sim_config *c,
                                   const struct lever_acceptance *table, struct lever_error *err)
{
    struct lv_sim_result r, sum = { 0 };
    double per_token = 0.0, per_round = 0.0;

    out->n_task = table->n_task;
    out->chain = c->mode == LV_SIM_CHAIN ? c->chain_k : 0;
    for (uint32_t i = 0; i < table->n_task; i++) {
        LV_TRY(lv_sim_run(&r, c, table, i, err));
        add(&sum, &r);
        out->task[i] = summary(&r, c);
        per_token += 1.0 / out->task[i].tok_per_s;
        per_round += 1.0 / out->task[i].tokens_per_round;
    }
    out->all = summary(&sum, c);
    out->all.tok_per_s = table->n_task / per_token;
    out->all.tokens_per_round = table->n_task / per_round;
    return LEVER_OK;
}

static enum lever_status check(const struct lever_plan_report *p, const struct lever_profile *d,
                               const struct lever_acceptance *a, const struct lever_simulation_options *o,
                               const struct lever_simulation *out, struct lever_error *err)
{
    if (!p || !d || !a || !o || !out || p->size < sizeof *p || d->size < sizeof *d || a->size < sizeof *a ||
        o->size < sizeof *o || out->size < sizeof *out)
        return LV_FAIL(err, LEVER_E_ARG, "lever_simulate: plan, profile, acceptance, options and out, with their sizes set, "
                       "are required");
    if (!(d->dram > 0))
        return LV_FAIL(err, LEVER_E_ARG, "the device profile has no \"dram\" rate, a number above 0 is expected");
    if (p->streamed_bytes && !(d->flash_rate > 0))
        return LV_FAIL(err, LEVER_E_ARG, "the device profile has no \"flash_rate\", a number above 0 is expected");
    if (lv_accept_fault(a))
        return LV_FAIL(err, LEVER_E_ARG, "the acceptance table is not sound: %s", lv_accept_fault(a));
    if (o->mode < LEVER_SIM_OFF || o->mode > LEVER_SIM_LEVER)
        return LV_FAIL(err, LEVER_E_ARG, "lever_simulate: mode %d, expected 0 to %d", (int)o->mode, LEVER_SIM_LEVER);
    if (o->mode == LEVER_SIM_CHAIN && !p->uses_draft)
        return LV_FAIL(err, LEVER_E_ARG, "this plan has no draft: a chain cannot be simulated");
    return LEVER_OK;
}

enum lever_status lever_simulate(const struct lever_plan_report *plan, const struct lever_profile *profile,
                                 const struct lever_acceptance *acceptance, const struct lever_simulation_options *opt,
                                 struct lever_simulation *out, struct lever_error *err)
{
    struct lever_simulation r = { .size = sizeof r }, best = { .size = 0 };
    struct lv_sim_config c;

    LV_TRY(check(plan, profile, acceptance, opt, out, err));
    configure(&c, plan, profile, opt);
    if (opt->mode != LEVER_SIM_CHAIN || opt->chain) {
        LV_TRY(run_tasks(&best, &c, acceptance, err));
    } else {
        for (uint32_t i = 0; i < N_CHAIN; i++) {
            c.chain_k = chains[i];
            LV_TRY(run_tasks(&r, &c, acceptance, err));
            if (i == 0 || r.all.tok_per_s > best.all.tok_per_s)
                best = r;
        }
    }
    best.size = out->size;
    memcpy(out, &best, sizeof best);
    return LEVER_OK;
}
