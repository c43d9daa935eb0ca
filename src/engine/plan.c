#include "engine/plan.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define MIB (UINT64_C(1) << 20)

/* Thread stacks, heap slack, kernel's view of the binary: what grows after the plan is made. */
#define MARGIN_BYTES (6 * MIB)
#define MAX_ROWS 64      /* row bucket of prefill and of a verify pass where all is resident: more are no faster */
#define MAX_ROWS_STREAMED LV_EXEC_MAX_ROWS /* where each pass streams: fewer passes for a prompt, larger trees */
#define ROWS_SHARE 24    /* part of the streamed bytes by which buffers of more rows may raise them */
#define DRAFT_SLOTS LV_KV_MAX_SLOTS
#define EMBED_BYTES (4 * MIB)
#define MIN_RING_SLOTS 4
/* For choosing between a draft and more pinned weights before anything was measured: a phone-class device, and the tokens a
 * round that trees give on average. */
#define FLASH_RATE 1.5e9
#define DRAM_RATE 30e9
#define ROUND_TOKENS 5.0
#define EXPOSED 0.5 /* part of drafting that no stream hides: what follows a surprise */

static void add_item(struct lv_plan *p, const char *name, uint64_t bytes)
{
    p->item[p->n_item].name = name;
    p->item[p->n_item++].bytes = bytes;
    p->total += bytes;
}

static uint64_t max_group(const struct lv_program *p, bool stream_head)
{
    uint64_t n = 0;

    for (uint32_t i = 0; i < p->n_w; i++)
        if ((!p->w[i].must_pin || (stream_head && i == p->w_head)) && p->w[i].group_bytes > n)
            n = p->w[i].group_bytes;
    return n;
}

static uint64_t all_matrices(const struct lv_program *p)
{
    uint64_t n = 0;

    for (uint32_t i = 0; i < p->n_w; i++)
        n += p->w[i].n_groups * p->w[i].group_bytes;
    return n;
}

/* Room for embedding rows that the head does not hold. */
static uint64_t embed_bytes(const struct lv_program *p, bool stream_head)
{
    if (!p->shape.tied || stream_head)
        return EMBED_BYTES;
    return p->w[p->w_head].n_rows < p->shape.n_vocab ? EMBED_BYTES / 4 : 0;
}

static struct lv_instance_spec base_spec(const struct lv_plan_input *in, const struct lv_instance *m, uint32_t n_slot,
                                         bool stream_head)
{
    return (struct lv_instance_spec){ .n_worker = in->n_worker,
                                      .max_rows = MAX_ROWS,
                                      .n_ctx = in->n_ctx,
                                      .n_slot = n_slot,
                                      .embed_bytes = embed_bytes(m->program, stream_head),
                                      .pin_bytes = UINT64_MAX,
                                      .stream_head = stream_head,
                                      .slot_bytes = 4 * MIB };
}

/* Everything of a wholly resident instance. */
static uint64_t resident_instance(const struct lv_instance *m, const struct lv_instance_spec *s)
{
    return lv_instance_arena_bytes(m, s) + lv_load_vector_bytes(m->program) + all_matrices(m->program);
}

/* What a device takes out of the same memory for the draft: row buffers and a KV cache of its own. The weights are the host's. The
 * host's buffers and cache stay planned: should the device fail, the CPU goes on. */
static uint64_t device_bytes(const struct lv_plan_input *in)
{
    return in->draft && in->draft_on_host_device ? lv_accel_bytes(in->draft->program, MAX_ROWS, in->n_ctx, DRAFT_SLOTS) : 0;
}

/* Ring: a 24th of the budget between 4 and 64 MiB, in 8 slots or more of 512 KiB to 4 MiB. More does not pay: a ring byte
 * saves no more than a pinned byte, and it only has to cover gaps (about 3 MiB in flight reach the disk's rate). Long
 * reads cost the least CPU. */
static void plan_ring(const struct lv_plan_input *in, struct lv_instance_spec *s, bool least)
{
    const uint64_t group = max_group(in->target->program, s->stream_head);
    uint64_t ring = in->budget / 24, slot;

    ring = ring < 4 * MIB ? 4 * MIB : ring > 64 * MIB ? 64 * MIB : ring;
    if (in->ring_bytes)
        ring = in->ring_bytes;
    slot = in->slot_bytes ? in->slot_bytes : ring / 8;
    if (!in->slot_bytes)
        slot = slot < MIB / 2 ? MIB / 2 : slot > 4 * MIB ? 4 * MIB : slot;
    if (least && !in->slot_bytes)
        slot = MIB / 2;
    s->slot_bytes = slot > group || in->slot_bytes ? slot : group;
    s->n_ring_slot = (uint32_t)(ring / s->slot_bytes);
    if (s->n_ring_slot < MIN_RING_SLOTS || (least && !in->ring_bytes))
        s->n_ring_slot = MIN_RING_SLOTS;
}

static uint64_t ring_bytes(const struct lv_instance_spec *s)
{
    return s->n_ring_slot * lv_slot_bytes(s->slot_bytes) + LV_IO_ALIGN;
}

/* Rows of a streamed pass: the largest bucket whose buffers take little from what is pinned. Returns the bytes that they
 * take. */
static uint64_t plan_rows(const struct lv_plan_input *in, struct lv_instance_spec *s, uint64_t streamed)
{
    const uint64_t base = lv_instance_arena_bytes(in->target, s);

    for (uint32_t rows = MAX_ROWS_STREAMED; rows > MAX_ROWS; rows /= 2) {
        struct lv_instance_spec wide = *s;

        wide.max_rows = wide.n_slot = rows;
        const uint64_t more = lv_instance_arena_bytes(in->target, &wide) - base;

        if (more <= streamed / ROWS_SHARE && more <= s->pin_bytes - lv_place_least(in->target->program, s->stream_head)) {
            *s = wide;
            return more;
        }
    }
    return 0;
}

/* What the target needs when only the least of it is pinned. */
static uint64_t least_streamed(const struct lv_plan_input *in, const struct lv_instance_spec *s)
{
    return lv_instance_arena_bytes(in->target, s) + lv_load_vector_bytes(in->target->program) +
           lv_place_least(in->target->program, s->stream_head) + ring_bytes(s);
}

static void report(struct lv_plan *p, const struct lv_plan_input *in)
{
    const struct lv_program *tp = in->target->program;
    const uint64_t all = all_matrices(tp), least = lv_place_least(tp, p->target.stream_head);
    const uint64_t pin = p->target.pin_bytes > all ? all : p->target.pin_bytes;

    add_item(p, "code, tables, tokenizer", in->base_bytes + MARGIN_BYTES);
    add_item(p, "target KV cache and buffers", lv_instance_arena_bytes(in->target, &p->target));
    add_item(p, p->target.stream_head ? "target norms, K and V" : "target head, norms, K and V", lv_load_vector_bytes(tp) + least);
    add_item(p, "target pinned layers", pin - least);
    if (p->target.n_ring_slot)
        add_item(p, "stream ring", ring_bytes(&p->target));
    if (p->use_draft) {
        add_item(p, "draft KV cache and buffers", lv_instance_arena_bytes(in->draft, &p->draft));
        add_item(p, "draft weights", lv_load_vector_bytes(in->draft->program) + all_matrices(in->draft->program));
        if (device_bytes(in))
            add_item(p, "draft on its device", device_bytes(in));
    }
    p->streamed_bytes = all - pin;
}

/* Streams what does not fit: with the draft if that leaves room for the least of the target, with the head as part of
 * the stream if nothing else will do. False when even that is too much. */
static bool plan_streamed(struct lv_plan *p, const struct lv_plan_input *in, uint64_t fixed, uint64_t draft)
{
    for (int stream_head = 0; stream_head <= 1; stream_head++) {
        for (int least_ring = 0; least_ring <= 1; least_ring++) {
            struct lv_instance_spec s = base_spec(in, in->target, MAX_ROWS, stream_head);

            plan_ring(in, &s, least_ring);
            s.peek = in->draft && in->peek && !stream_head;
            uint64_t need = fixed + least_streamed(in, &s);

            p->least = lv_round_up(need, MIB); /* the last one tried needs least */
            if (need > in->budget)
                continue;
            p->use_draft = in->draft && !stream_head && need + draft <= in->budget;
            need += p->use_draft ? draft : 0;
            s.peek = s.peek && p->use_draft;
            s.pin_bytes = lv_place_least(in->target->program, stream_head) + (in->budget - need);
            if (s.pin_bytes >= all_matrices(in->target->program)) {
                s.pin_bytes = UINT64_MAX;
                s.n_ring_slot = 0;
                s.stream_head = s.peek = false;
            } else {
                s.pin_bytes -= plan_rows(in, &s, all_matrices(in->target->program) - s.pin_bytes);
            }
            p->target = s;
            return true;
        }
    }
    return false;
}

/* Seconds a token when passes of `tokens` stream what is not pinned: the slower of flash and memory, which is read once by
 * the pass and once for each token drafted; and what of drafting is exposed. */
static double token_seconds(const struct lv_plan_input *in, const struct lv_instance_spec *s, double tokens)
{
    const uint64_t all = all_matrices(in->target->program);
    const uint64_t draft = tokens > 1.0 ? all_matrices(in->draft->program) : 0;
    const double flash = (double)(s->pin_bytes < all ? all - s->pin_bytes : 0) / FLASH_RATE;
    const double drafting = (tokens - 1.0) * (double)draft / DRAM_RATE, exposed = EXPOSED * drafting;
    const double dram = (double)all / DRAM_RATE + drafting - exposed;

    return ((flash > dram ? flash : dram) + exposed) / tokens;
}

/* Leaves out the draft that *p has if its memory serves better as pinned weights. */
static void drop_draft(struct lv_plan *p, const struct lv_plan_input *in, uint64_t fixed, bool resident_fits)
{
    struct lv_plan_input alone = *in;
    struct lv_plan q = { .budget = p->budget };

    alone.draft = NULL;
    q.target = base_spec(&alone, in->target, MAX_ROWS, false);
    if (!resident_fits && !plan_streamed(&q, &alone, fixed, 0))
        return;
    if (token_seconds(in, &p->target, ROUND_TOKENS) > token_seconds(in, &q.target, 1.0)) {
        q.draft_loses = true;
        *p = q;
    }
}

enum lever_status lv_plan(struct lv_plan *out, const struct lv_plan_input *in, struct lever_error *err)
{
    const uint64_t fixed = in->base_bytes + MARGIN_BYTES;

    *out = (struct lv_plan){ .budget = in->budget };
    out->target = base_spec(in, in->target, MAX_ROWS, false);
    if (in->draft)
        out->draft = base_spec(in, in->draft, DRAFT_SLOTS, false);
    /* While a resident model loads, its read buffers exist; later the ring takes their place. */
    const uint64_t resident = fixed + lv_load_buffer_bytes(in->target->program, in->n_worker) +
                              resident_instance(in->target, &out->target);
    const uint64_t draft = in->draft ? resident_instance(in->draft, &out->draft) + device_bytes(in) : 0;

    if (in->budget == LEVER_MEMORY_UNLIMITED || resident + draft <= in->budget) {
        out->use_draft = in->draft != NULL;
    } else if (in->draft && resident <= in->budget) {
        /* The draft would push target bytes out: keep it only if both still fit, streamed. */
        if (!plan_streamed(out, in, fixed, draft) || !out->use_draft)
            out->target = base_spec(in, in->target, MAX_ROWS, false);
    } else if (!plan_streamed(out, in, fixed, draft)) {
        if (resident < out->least)
            out->least = lv_round_up(resident, MIB);
        const enum lever_status st =
            LV_FAIL(err, LEVER_E_BUDGET, "%s does not fit in %llu MiB at a context of %u: at least %llu MiB are needed "
                    "(--memory %lluM), or a smaller context (-c)",
                    lv_gguf_path(in->target->gguf, 0), (unsigned long long)(in->budget / MIB), in->n_ctx,
                    (unsigned long long)(out->least / MIB), (unsigned long long)(out->least / MIB));

        if (err)
            err->least_memory = out->least;
        return st;
    }
    if (out->use_draft && out->target.n_ring_slot && in->draft_must_win)
        drop_draft(out, in, fixed, resident <= in->budget);
    report(out, in);
    return LEVER_OK;
}

/* First number in a file, or UINT64_MAX ("max", absent). */
static uint64_t read_number(const char *path)
{
    FILE *f = fopen(path, "re");
    unsigned long long v;
    uint64_t n = UINT64_MAX;

    if (!f)
        return n;
    if (fscanf(f, "%llu", &v) == 1)
        n = v;
    fclose(f);
    return n;
}

/* Limit minus use along the path of this process's memory cgroup. */
static uint64_t cgroup_room(const char *root, const char *group, const char *limit_file, const char *usage_file)
{
    char dir[512], path[768];
    uint64_t room = UINT64_MAX;

    snprintf(dir, sizeof dir, "%s", group);
    for (;;) { /* the group itself, then each parent */
        snprintf(path, sizeof path, "%s%s/%s", root, dir, limit_file);
        const uint64_t limit = read_number(path);

        snprintf(path, sizeof path, "%s%s/%s", root, dir, usage_file);
        const uint64_t used = read_number(path);

        if (limit != UINT64_MAX && limit < (UINT64_C(1) << 60) && used != UINT64_MAX) {
            const uint64_t r = limit > used ? limit - used : 0;

            room = r < room ? r : room;
        }
        char *slash = strrchr(dir, '/');

        if (!slash)
            return room;
        *slash = '\0';
    }
}

uint64_t lv_memory_resident(void)
{
    FILE *f = fopen("/proc/self/statm", "re");
    unsigned long long size, resident = 0;

    if (!f)
        return 0;
    if (fscanf(f, "%llu %llu", &size, &resident) != 2)
        resident = 0;
    fclose(f);
    return resident * (uint64_t)sysconf(_SC_PAGESIZE);
}

uint64_t lv_memory_available(void)
{
    char line[512];
    uint64_t room = UINT64_MAX;
    FILE *f = fopen("/proc/meminfo", "re");

    while (f && fgets(line, sizeof line, f)) {
        unsigned long long kib;

        if (sscanf(line, "MemAvailable: %llu kB", &kib) == 1)
            room = kib * 1024;
    }
    if (f)
        fclose(f);
    f = fopen("/proc/self/cgroup", "re");
    while (f && fgets(line, sizeof line, f)) {
        char *path = strchr(line, '/');
        uint64_t r = UINT64_MAX;

        line[strcspn(line, "\n")] = '\0';
        if (path && strstr(line, ":memory:"))
            r = cgroup_room("/sys/fs/cgroup/memory", path, "memory.limit_in_bytes", "memory.usage_in_bytes");
        else if (path && strncmp(line, "0::", 3) == 0)
            r = cgroup_room("/sys/fs/cgroup", path, "memory.max", "memory.current");
        room = r < room ? r : room;
    }
    if (f)
        fclose(f);
    /* What the process holds already belongs to its budget. */
    return room == UINT64_MAX ? LEVER_MEMORY_UNLIMITED : room + lv_memory_resident();
}
