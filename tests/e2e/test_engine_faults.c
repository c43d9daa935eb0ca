/* Faults through the whole engine: whatever the system calls below the readers do, the ids are those of an undisturbed
 * run, or the call fails with the cause and may be repeated.
 *
 * usage: test_engine_faults tiny FOLDER [STRIDE]       a generated model and draft; every STRIDE-th read (not a
 *                                                      multiple of 3), every allocation
 *        test_engine_faults real MODEL.gguf [STRIDE]   streamed in 64M */
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/mem.h"
#include "base/rng.h"
#include "e2e/host.h"
#include "engine/engine.h"
#include "ref/tiny.h"

#define N_PROMPT 7
#define N_GEN_MAX 8
#define FAIL_MAX_NS 1000000000u  /* a failed read ends the call within this time, */
#define CANCEL_MAX_NS 250000000u /* and a cancel within this */
#define HANG_NS 2000000000u
#define SLOW_100_IOPS 10000000u

static unsigned n_bad;

#define BAD(...) (n_bad++, printf("FAIL "), printf(__VA_ARGS__), printf("\n"))

static void nap_ns(uint64_t ns)
{
    nanosleep(&(struct timespec){ .tv_sec = (time_t)(ns / 1000000000u), .tv_nsec = (long)(ns % 1000000000u) }, NULL);
}

/* ---- system calls that misbehave ----------------------------------------- */

enum fault { NONE, EIO_ONCE, EIO_FOR_GOOD, EINTR_OFTEN, EAGAIN_OFTEN, SHORT_OFTEN, HANG, HANG_SMALL, SLOW };

static struct {
    _Atomic enum fault kind;
    atomic_uint_fast64_t at;       /* *_ONCE, *_GOOD: call; *_OFTEN: every so many-th; SLOW: ns a call at least */
    atomic_uint_fast64_t n_call;
    atomic_uint_fast64_t n_hit, hit_ns;
    atomic_uint_fast64_t small;    /* HANG_SMALL: reads up to this size; HANG: larger ones */
    pthread_mutex_t one_at_a_time; /* SLOW: a device with one head */
} sys = { .one_at_a_time = PTHREAD_MUTEX_INITIALIZER };

static void fault_set(enum fault kind, uint64_t at)
{
    atomic_store(&sys.kind, NONE);
    atomic_store(&sys.at, at);
    atomic_store(&sys.n_call, 0);
    atomic_store(&sys.n_hit, 0);
    atomic_store(&sys.kind, kind);
}

static void hit(void)
{
    if (atomic_fetch_add(&sys.n_hit, 1) == 0)
        atomic_store(&sys.hit_ns, lv_now_ns());
}

/* Bytes or a negative errno; given: what a ring's read gave, else NULL. */
static int64_t call(int fd, void *buf, uint64_t len, uint64_t off, const int64_t *given)
{
    const uint64_t n = atomic_fetch_add(&sys.n_call, 1) + 1, at = atomic_load(&sys.at);
    const enum fault kind = atomic_load(&sys.kind);

    switch (kind) {
    case NONE:
    case SHORT_OFTEN:
        break;
    case EIO_ONCE:
    case EIO_FOR_GOOD:
        if (n == at || (n > at && kind == EIO_FOR_GOOD)) {
            hit();
            return -EIO;
        }
        break;
    case EINTR_OFTEN:
    case EAGAIN_OFTEN:
        if (n % at == 0) {
            hit();
            return kind == EINTR_OFTEN ? -EINTR : -EAGAIN;
        }
        break;
    case HANG:
    case HANG_SMALL:
        if ((len <= atomic_load(&sys.small)) == (kind == HANG_SMALL)) {
            const uint64_t until = lv_now_ns() + HANG_NS;

            hit();
            while (atomic_load(&sys.kind) == kind && lv_now_ns() < until)
                nap_ns(2000000);
        }
        break;
    case SLOW: {
        const uint64_t ns = at == SLOW_100_IOPS ? len * 50 : 0; /* 20 MB/s */

        pthread_mutex_lock(&sys.one_at_a_time);
        nap_ns(ns > at ? ns : at);
        pthread_mutex_unlock(&sys.one_at_a_time);
        hit();
        break;
    }
    }
    const int64_t now = given ? 0 : pread(fd, buf, len, (off_t)off);
    int64_t got = given ? *given : now < 0 ? -errno : now;

    if (kind == SHORT_OFTEN && n % at == 0 && got > 1) {
        hit();
        memset((uint8_t *)buf + got / 3 + 1, 0xee, (size_t)(got - got / 3 - 1));
        got = got / 3 + 1;
    }
    return got;
}

static int64_t hook_pread(void *ctx, int fd, void *buf, uint64_t len, uint64_t off)
{
    const int64_t got = call(fd, buf, len, off, NULL);

    (void)ctx;
    if (got >= 0)
        return got;
    errno = (int)-got;
    return -1;
}

static int64_t hook_result(void *ctx, int fd, void *buf, uint64_t len, uint64_t off, int64_t got)
{
    (void)ctx;
    return call(fd, buf, len, off, &got);
}

static const struct lv_io_ops ops = { .pread = hook_pread, .result = hook_result };

/* ---- a run --------------------------------------------------------------- */

static struct {
    char target[600], draft[600]; /* draft: "" = none */
    const char *name;             /* that messages must have */
    uint64_t memory, ring, slot;
    uint32_t n_ctx, n_gen;
    int32_t prompt[N_PROMPT], want[N_GEN_MAX];
    void (*progress)(void *user, const char *what, uint64_t done, uint64_t total);
} kit;

struct run {
    enum lever_reader reader;
    bool draft;
    lever_engine *e;
    lever_seq *q;
    bool prompted;
    int32_t ids[N_GEN_MAX];
    uint32_t n;
    struct lever_error err;
};

static void options(const struct run *r, struct lever_options *opt)
{
    lever_options_default(opt, sizeof *opt);
    opt->target_path = kit.target;
    opt->draft_path = r->draft && kit.draft[0] ? kit.draft : NULL;
    opt->memory_bytes = kit.memory;
    opt->ring_bytes = kit.ring;
    opt->slot_bytes = kit.slot;
    opt->n_ctx = kit.n_ctx;
    opt->n_threads = 2;
    opt->reader = r->reader;
    opt->spec_draft_n_max = 3;
    opt->sidecar = "off";
    opt->progress = kit.progress;
}

static enum lever_status open_engine(struct run *r)
{
    struct lever_options opt;

    options(r, &opt);
    enum lever_status st = lv_engine_open_hooked(&r->e, &opt, &ops, &r->err);

    for (int i = 0; st == LEVER_E_BUDGET && i < 4; i++) { /* it depends on the process, which under sanitizers grows and shrinks a lot */
        opt.memory_bytes = r->err.least_memory + (1 << 20);
        st = lv_engine_open_hooked(&r->e, &opt, &ops, &r->err);
    }
    return st;
}

/* The next thing to do; repeats what failed. Returns its status, LEVER_DONE when all ids are there. */
static enum lever_status advance(struct run *r)
{
    enum lever_status st;
    size_t n;

    if (!r->e)
        return open_engine(r);
    if (!r->q)
        return lever_seq_new(r->e, NULL, &r->q, &r->err);
    if (!r->prompted) {
        st = lever_prompt(r->q, kit.prompt, N_PROMPT, &r->err);
        r->prompted = st >= 0;
        return st;
    }
    st = lever_step(r->q, r->ids + r->n, kit.n_gen - r->n, &n, &r->err);
    if (st < 0)
        return st;
    r->n += (uint32_t)n;
    return st == LEVER_DONE || r->n == kit.n_gen ? LEVER_DONE : LEVER_OK;
}

static void end(struct run *r)
{
    lever_seq_free(r->q);
    lever_close(r->e);
    r->q = NULL;
    r->e = NULL;
}

static enum lever_status go_on(struct run *r)
{
    enum lever_status st;

    do
        st = advance(r);
    while (st == LEVER_OK);
    return st;
}

static void check_ids(const struct run *r, const char *what, uint64_t k)
{
    for (uint32_t i = 0; i < kit.n_gen; i++)
        if (i >= r->n || r->ids[i] != kit.want[i]) {
            BAD("%s %llu: id %u is %d, expected %d", what, (unsigned long long)k, i, i < r->n ? r->ids[i] : -1, kit.want[i]);
            return;
        }
}

static struct run run_of(uint64_t k)
{
    static const enum lever_reader reader[] = { LEVER_READER_PREAD, LEVER_READER_URING, LEVER_READER_BUFFERED };

    return (struct run){ .reader = reader[k % 3], .draft = k / 3 % 2 == 1 };
}

/* What an undisturbed resident run gives, and how many calls a streamed one makes. 0: no way to test. */
static uint64_t undisturbed(void)
{
    const uint64_t memory = kit.memory;
    struct run r = { 0 }, s = run_of(3);

    fault_set(NONE, 0);
    kit.memory = 0;
    if (go_on(&r) < 0) {
        BAD("undisturbed: %s", r.err.message);
        end(&r);
        return 0;
    }
    memcpy(kit.want, r.ids, sizeof kit.want);
    kit.n_gen = r.n;
    end(&r);
    kit.memory = memory;
    fault_set(NONE, 0);
    struct lever_stats stats = { .size = sizeof stats };

    if (go_on(&s) < 0)
        BAD("undisturbed, streamed: %s", s.err.message);
    else
        lever_stats(s.e, s.q, &stats);
    check_ids(&s, "undisturbed", 0);
    end(&s);
    if (stats.streamed_bytes == 0)
        BAD("nothing is streamed within %llu bytes", (unsigned long long)kit.memory);
    return n_bad ? 0 : atomic_load(&sys.n_call);
}

/* ---- failed reads -------------------------------------------------------- */

/* Every read from the k-th on fails: the call says so, in time; once the device is healed, all goes on. */
static bool fail_for_good(uint64_t k)
{
    struct run r = run_of(k);
    enum lever_status st;
    uint64_t t0;

    fault_set(EIO_FOR_GOOD, k);
    do {
        t0 = lv_now_ns();
        st = advance(&r);
    } while (st == LEVER_OK);
    const bool failed = st < 0;

    if (failed) {
        const uint64_t since = atomic_load(&sys.hit_ns) > t0 ? atomic_load(&sys.hit_ns) : t0, ns = lv_now_ns() - since;

        if (st != LEVER_E_IO || r.err.status != st || !strstr(r.err.message, kit.name) ||
            !strstr(r.err.message, "offset") || !strstr(r.err.message, strerror(EIO)))
            BAD("read %llu fails for good: status %d, \"%s\"", (unsigned long long)k, st, r.err.message);
        if (ns > FAIL_MAX_NS)
            BAD("read %llu fails for good: the call took %.2f s more", (unsigned long long)k, (double)ns / 1e9);
        atomic_store(&sys.kind, NONE);
        /* A read that was under way when the device healed may still report its failure, once. */
        if ((st = go_on(&r)) == LEVER_E_IO)
            st = go_on(&r);
        if (st < 0)
            BAD("read %llu, after healing: %s", (unsigned long long)k, r.err.message);
    }
    check_ids(&r, "read that fails for good", k);
    end(&r);
    return failed;
}

static void fail_once(enum fault kind, uint64_t k, const char *what)
{
    struct run r = run_of(k);

    fault_set(kind, k);
    if (go_on(&r) < 0)
        BAD("%s %llu: %s", what, (unsigned long long)k, r.err.message);
    else if (kind != EIO_ONCE && atomic_load(&sys.n_hit) == 0)
        BAD("%s %llu: never happened", what, (unsigned long long)k);
    check_ids(&r, what, k);
    end(&r);
}

static void test_failed_reads(uint64_t n_call, uint64_t stride)
{
    unsigned n_failed = 0, n_run = 0;

    for (uint64_t k = 1; k <= n_call; k += stride, n_run++) {
        fail_once(EIO_ONCE, k, "EIO once at read");
        n_failed += fail_for_good(k);
    }
    printf("%llu reads, every %llu fails: %u runs, %u failed and went on\n", (unsigned long long)n_call,
           (unsigned long long)stride, n_run, n_failed);
    if (n_failed < n_run / 2)
        BAD("too few faults were seen");
    for (uint64_t k = 2; k <= 40 && k * stride <= 160; k += 1 + k / 4) {
        fail_once(EINTR_OFTEN, k, "EINTR every");
        fail_once(EAGAIN_OFTEN, k, "EAGAIN every");
        fail_once(SHORT_OFTEN, k, "short read every");
    }
    fail_once(SHORT_OFTEN, 1, "short read every");
}

/* ---- a file that changes ------------------------------------------------- */

static bool copy_file(const char *from, const char *to)
{
    char command[1400];

    snprintf(command, sizeof command, "cp '%s' '%s'", from, to);
    return system(command) == 0;
}

/* how: 0 truncated, 1 longer, 2 written to, 3 another file in its place */
static void change_file(int how, const char *saved)
{
    char other[620];
    FILE *f;

    snprintf(other, sizeof other, "%s.other", kit.target);
    nap_ns(20000000); /* a file's times move in steps of some ms */
    switch (how) {
    case 0:
        if (truncate(kit.target, 70000) != 0)
            BAD("truncate: %s", strerror(errno));
        break;
    case 1:
    case 2:
        if (!(f = fopen(kit.target, how == 1 ? "ab" : "r+b")) || fputs("x", f) < 0 || fclose(f) != 0)
            BAD("write: %s", strerror(errno));
        break;
    case 3:
        if (!copy_file(saved, other) || truncate(other, 100000) != 0 || rename(other, kit.target) != 0)
            BAD("replace: %s", strerror(errno));
        break;
    }
}

static void test_changed_file(void)
{
    char saved[610];

    snprintf(saved, sizeof saved, "%s.saved", kit.target);
    if (!copy_file(kit.target, saved)) {
        BAD("cannot copy %s", kit.target);
        return;
    }
    for (int how = 0; how < 4; how++) {
        for (uint64_t k = 0; k < 3; k++) {
            struct run r = run_of(k);

            fault_set(NONE, 0);
            while (r.n < 2 && advance(&r) == LEVER_OK)
                ;
            change_file(how, saved);
            const enum lever_status st = go_on(&r);

            if (how == 3) /* the descriptors keep the old one */
                check_ids(&r, "replaced file, reader", k);
            else if (st != LEVER_E_IO || !strstr(r.err.message, kit.name) ||
                     !strstr(r.err.message, "open the model again"))
                BAD("changed file (%d), reader %d: status %d, \"%s\"", how, r.reader, st, r.err.message);
            end(&r);
            unlink(kit.target);
            if (!copy_file(saved, kit.target))
                BAD("cannot copy back %s", kit.target);
        }
    }
    unlink(saved);
}

/* ---- cancel -------------------------------------------------------------- */

struct canceller {
    lever_seq *q;
    uint64_t after_ns;
    atomic_uint_fast64_t at_ns;
};

static void *cancel_main(void *arg)
{
    struct canceller *c = arg;

    nap_ns(c->after_ns);
    atomic_store(&c->at_ns, lv_now_ns());
    lever_cancel(c->q);
    return NULL;
}

/* One call with a cancel some time after its begin. */
static enum lever_status cancelled_call(struct run *r, uint64_t after_ns, const char *what)
{
    struct canceller c = { .q = r->q, .after_ns = after_ns };
    pthread_t t;

    if (pthread_create(&t, NULL, cancel_main, &c) != 0)
        return LEVER_E_NOMEM;
    const enum lever_status st = advance(r);
    const uint64_t end_ns = lv_now_ns();

    pthread_join(t, NULL);
    lever_cancel_clear(r->q);
    if (st == LEVER_E_CANCEL && end_ns > atomic_load(&c.at_ns) + CANCEL_MAX_NS)
        BAD("%s: the cancel was answered after %.0f ms", what, (double)(end_ns - atomic_load(&c.at_ns)) / 1e6);
    if (st < 0 && st != LEVER_E_CANCEL)
        BAD("%s: %s", what, r->err.message);
    return st;
}

static void test_cancel(struct lv_rng *rng)
{
    unsigned n_cancelled = 0, n_call = 0;

    for (uint64_t k = 0; k < 6; k++) {
        struct run r = run_of(k);
        enum lever_status st = LEVER_OK;

        fault_set(NONE, 0);
        while (!r.q && (st = advance(&r)) == LEVER_OK)
            ;
        fault_set(SLOW, 300000);
        const uint64_t t0 = lv_now_ns();

        if (st == LEVER_OK)
            st = advance(&r); /* the prompt, to know how long a call takes */
        const uint64_t call_ns = lv_now_ns() - t0;

        for (int i = 0; i < 40 && st != LEVER_DONE; i++, n_call++) {
            st = cancelled_call(&r, lv_rng_u64(rng) % (2 * call_ns), "cancel");
            n_cancelled += st == LEVER_E_CANCEL;
        }
        atomic_store(&sys.kind, NONE);
        if (st != LEVER_DONE && go_on(&r) < 0)
            BAD("after cancels: %s", r.err.message);
        check_ids(&r, "after cancels, run", k);
        end(&r);
    }
    printf("%u of %u calls cancelled\n", n_cancelled, n_call);
    if (!n_cancelled || n_call == n_cancelled)
        BAD("cancels came always, or never, in time");
}

/* The device does not answer for seconds: neither for weights nor for embedding rows. */
static void test_cancel_hanging(void)
{
    unsigned n_hung = 0;

    for (uint64_t k = 0; k < 12; k++) {
        const bool small = k / 6;
        struct run r = run_of(k);
        enum lever_status st = LEVER_OK;

        fault_set(NONE, 0);
        while ((k % 2 ? !r.q : r.n < 2) && st == LEVER_OK) /* in the prompt, in a step */
            st = advance(&r);
        atomic_store(&sys.small, kit.slot / 2);
        fault_set(small ? HANG_SMALL : HANG, 0);
        for (int i = 0; i < 8 && st == LEVER_OK; i++) /* what the ring holds is still used up */
            st = cancelled_call(&r, 60000000, small ? "cancel, rows hang" : "cancel, weights hang");
        n_hung += st == LEVER_E_CANCEL && atomic_load(&sys.n_hit) > 0;
        if (!small && st != LEVER_E_CANCEL)
            BAD("weights hang, yet the call was not cancelled: %d", st);
        if (st == LEVER_E_CANCEL && k % 3 == 0) /* again, while the same reads still hang */
            cancelled_call(&r, 1000000, "second cancel");
        atomic_store(&sys.kind, NONE);
        if (st != LEVER_DONE && go_on(&r) < 0)
            BAD("after a cancel: %s", r.err.message);
        check_ids(&r, "after a hanging device, run", k);
        end(&r);
    }
    printf("%u calls cancelled while reads hung\n", n_hung);
    if (n_hung < 7) /* rows of the embedding may have been in the cache */
        BAD("too few reads hung");
}

static void test_slow_device(void)
{
    struct run r = run_of(3);

    fault_set(NONE, 0);
    while (!r.prompted && advance(&r) == LEVER_OK)
        ;
    fault_set(SLOW, SLOW_100_IOPS);
    if (go_on(&r) < 0)
        BAD("slow device: %s", r.err.message);
    check_ids(&r, "slow device", 0);
    printf("slow device: %llu reads\n", (unsigned long long)atomic_load(&sys.n_call));
    if (atomic_load(&sys.n_hit) == 0)
        BAD("slow device: nothing was read");
    end(&r);
}

/* ---- a prompt that fails midway ------------------------------------------ */

#define N_LONG 150 /* tokens, computed 64 at a time */
#define N_AFTER 3
#define AT_ONCE UINT64_MAX
#define N_READS_TRIED 4

enum before { NOTHING, PROMPTED, GENERATED, N_BEFORE };   /* what the sequence has when the long prompt comes */
enum answer { GO_ON, STEP, TAKE_BACK, N_ANSWER };         /* what the caller does about the failure */

static struct {
    lever_seq *q;
    uint64_t left; /* cancel when so many tokens of the prompt are still to do */
} midway;

static void cancel_midway(void *user, const char *what, uint64_t done, uint64_t total)
{
    (void)user;
    if (midway.q && strcmp(what, "prefill") == 0 && total - done == midway.left)
        lever_cancel(midway.q);
}

static int32_t long_token(uint32_t i)
{
    return 10 + (int32_t)(i * 37 % 290);
}

/* A sequence that no end token ends. */
static enum lever_status open_endless(struct run *r)
{
    struct lever_sampling sampling;

    lever_sampling_default(&sampling, sizeof sampling);
    sampling.ignore_eos = true;
    const enum lever_status st = open_engine(r);

    return st < 0 ? st : lever_seq_new(r->e, &sampling, &r->q, &r->err);
}

static uint64_t n_prompt_of(const struct run *r)
{
    struct lever_stats stats = { .size = sizeof stats };

    lever_stats(r->e, r->q, &stats);
    return stats.n_prompt;
}

/* lever_prompt with text[known .. end). A read under way when the device healed may fail once more: then, as callers
 * do, with what was not accepted. */
static bool prompt_rest(struct run *r, const int32_t *text, uint64_t known, uint64_t end)
{
    const uint64_t had = n_prompt_of(r);
    enum lever_status st = lever_prompt(r->q, text + known, end - known, &r->err);

    if (st == LEVER_E_IO) {
        known += n_prompt_of(r) - had;
        st = lever_prompt(r->q, text + known, end - known, &r->err);
    }
    return st == LEVER_OK;
}

static bool take(struct run *r, int32_t *out, uint64_t n)
{
    bool again = true;

    for (uint64_t done = 0; done < n;) {
        size_t got;
        const enum lever_status st = lever_step(r->q, out + done, n - done, &got, &r->err);

        if (st == LEVER_E_IO && again)
            again = false;
        else if (st != LEVER_OK)
            return false;
        done += got;
    }
    return true;
}

/* What follows a text, in memory and undisturbed. */
static bool twin(const int32_t *text, uint64_t n, int32_t *out)
{
    const uint64_t memory = kit.memory;
    struct run r = { 0 };

    kit.memory = 0;
    const bool ok = open_endless(&r) == LEVER_OK && prompt_rest(&r, text, 0, n) && take(&r, out, N_AFTER);

    if (!ok)
        BAD("twin of %llu tokens: %s", (unsigned long long)n, r.err.message);
    kit.memory = memory;
    end(&r);
    return ok;
}

/* The sequence has text[0 .. known). Does what the caller would; returns the tokens it then has, 0 when that failed. */
static uint64_t answer_failure(struct run *r, enum answer answer, const int32_t *text, uint64_t n, uint64_t known,
                               const char *what)
{
    if (answer == STEP && known > 0)
        return known;
    if (answer == TAKE_BACK && n > 0) {
        if (lever_rewind(r->q, known - n, &r->err) < 0)
            BAD("%s: taking back %d tokens: %s", what, (int)(known - n), r->err.message);
        known = n;
    }
    if (prompt_rest(r, text, known, n + N_LONG))
        return n + N_LONG;
    BAD("%s: the rest of the prompt: %s", what, r->err.message);
    return 0;
}

/* The prompt is cancelled with `at` tokens left (NONE), or its reads from `at` on fail (EIO_FOR_GOOD). Then the figures
 * say how much was accepted, and the text goes on from there. Returns the tokens accepted; N_LONG: it did not fail. */
static uint64_t fail_midway(enum fault kind, uint64_t at, enum before before, enum answer answer, uint64_t k)
{
    struct run r = run_of(k);
    int32_t text[N_PROMPT + 2 + N_LONG], ids[N_AFTER], want[N_AFTER];
    const uint64_t n = before == NOTHING ? 0 : before == PROMPTED ? N_PROMPT : N_PROMPT + 2;
    uint64_t accepted = 0;
    char what[120];

    snprintf(what, sizeof what, "long prompt, run %d: %s %lld, before %d, answer %d", (int)k,
             kind == NONE ? "cancel" : "read", (long long)at, before, answer);
    memcpy(text, kit.prompt, sizeof kit.prompt);
    fault_set(NONE, 0);
    if (open_endless(&r) < 0 || (n > 0 && !prompt_rest(&r, text, 0, N_PROMPT)) ||
        (n > N_PROMPT && !take(&r, text + N_PROMPT, 2))) {
        BAD("%s: before it: %s", what, r.err.message);
        goto out;
    }
    for (uint32_t i = 0; i < N_LONG; i++)
        text[n + i] = long_token(i);
    const uint64_t had = n_prompt_of(&r);

    midway.left = at;
    midway.q = kind == NONE ? r.q : NULL;
    if (kind == NONE && at == AT_ONCE)
        lever_cancel(r.q);
    fault_set(kind, at);
    const enum lever_status st = lever_prompt(r.q, text + n, N_LONG, &r.err);

    atomic_store(&sys.kind, NONE);
    midway.q = NULL;
    lever_cancel_clear(r.q);
    accepted = n_prompt_of(&r) - had;
    if (kind == NONE && (st != LEVER_E_CANCEL || accepted != (at == AT_ONCE ? 0 : N_LONG - at)))
        BAD("%s: status %d, %llu tokens accepted", what, st, (unsigned long long)accepted);
    if (kind != NONE && st != (accepted == N_LONG ? LEVER_OK : LEVER_E_IO))
        BAD("%s: status %d, %llu tokens accepted: %s", what, st, (unsigned long long)accepted, r.err.message);
    if (accepted > N_LONG || st == LEVER_OK)
        goto out;
    const uint64_t known = answer_failure(&r, answer, text, n, n + accepted, what);

    if (!known || !twin(text, known, want))
        goto out;
    if (!take(&r, ids, N_AFTER))
        BAD("%s: behind %llu tokens: %s", what, (unsigned long long)known, r.err.message);
    else if (memcmp(ids, want, sizeof ids) != 0)
        BAD("%s: behind %llu tokens: %d %d %d, expected %d %d %d", what, (unsigned long long)known, ids[0], ids[1],
            ids[2], want[0], want[1], want[2]);
out:
    end(&r);
    return accepted;
}

/* A text that has ended goes on with the part of a prompt that was accepted; without any, it still has ended. */
static void fail_behind_end(uint64_t at)
{
    const int32_t eos = tiny_eos(320);
    const struct lever_logit_bias bias = { .token = eos, .bias = 1e6f };
    struct lever_sampling sampling;
    struct run r = run_of(3);
    int32_t text[N_LONG], id;
    size_t n;

    lever_sampling_default(&sampling, sizeof sampling);
    sampling.logit_bias = &bias;
    sampling.n_logit_bias = 1;
    for (uint32_t i = 0; i < N_LONG; i++)
        text[i] = long_token(i);
    fault_set(NONE, 0);
    if (open_engine(&r) < 0 || lever_seq_new(r.e, &sampling, &r.q, &r.err) < 0 || !prompt_rest(&r, text, 0, N_PROMPT) ||
        lever_step(r.q, &id, 1, &n, &r.err) != LEVER_DONE || id != eos) {
        BAD("text that ends: %s", r.err.message);
        end(&r);
        return;
    }
    midway.q = r.q;
    midway.left = at;
    if (at == AT_ONCE)
        lever_cancel(r.q);
    const enum lever_status st = lever_prompt(r.q, text, N_LONG, &r.err);

    midway.q = NULL;
    lever_cancel_clear(r.q);
    const enum lever_status next = lever_step(r.q, &id, 1, &n, &r.err);
    const enum lever_status expected = at == AT_ONCE ? LEVER_E_ARG : LEVER_DONE;

    if (st != LEVER_E_CANCEL || next != expected)
        BAD("prompt behind an end, cancelled with %lld left: status %d, then %d, expected %d", (long long)at, st, next,
            expected);
    end(&r);
}

/* Reads that an undisturbed long prompt makes. */
static uint64_t long_prompt_reads(void)
{
    struct run r = run_of(3);
    int32_t text[N_LONG];
    uint64_t n_call = 0;

    for (uint32_t i = 0; i < N_LONG; i++)
        text[i] = long_token(i);
    fault_set(NONE, 0);
    if (open_endless(&r) == LEVER_OK) {
        const uint64_t before = atomic_load(&sys.n_call);

        if (prompt_rest(&r, text, 0, N_LONG))
            n_call = atomic_load(&sys.n_call) - before;
    }
    if (!n_call)
        BAD("long prompt: %s", r.err.message);
    end(&r);
    return n_call;
}

static void test_prompt_midway(void)
{
    const uint32_t n_ctx = kit.n_ctx;
    unsigned n_run = 0, n_part = 0, n_none = 0;

    kit.n_ctx = 256;
    kit.progress = cancel_midway;
    const uint64_t n_call = long_prompt_reads();

    for (uint64_t k = 0; k < (uint64_t)N_BEFORE * N_ANSWER; k++) {
        const enum before before = (enum before)(k / N_ANSWER);
        const enum answer answer = (enum answer)(k % N_ANSWER);
        /* The last token that is known comes again with the prompt, unless its row is still at hand. */
        const uint64_t again = before == GENERATED, cut[] = { AT_ONCE, N_LONG - 64 + again, N_LONG - 128 + again };

        for (uint32_t i = 0; i < 3; i++, n_run++)
            fail_midway(NONE, cut[i], before, answer, k + i);
        for (uint64_t i = 0; i < N_READS_TRIED; i++, n_run++) {
            const uint64_t read = 1 + i * n_call / N_READS_TRIED;
            const uint64_t accepted = fail_midway(EIO_FOR_GOOD, read, before, answer, 3 * k + i);

            n_part += accepted > 0 && accepted < N_LONG;
            n_none += accepted == 0;
        }
    }
    fail_behind_end(AT_ONCE);
    fail_behind_end(N_LONG - 64 + 1);
    printf("long prompt of %llu reads: %u runs, failed reads left a part in %u, nothing in %u\n",
           (unsigned long long)n_call, n_run, n_part, n_none);
    if (!n_part || !n_none)
        BAD("long prompts failed always in the same part");
    kit.n_ctx = n_ctx;
    kit.progress = NULL;
}

/* ---- failed allocations -------------------------------------------------- */

static void test_failed_allocations(void)
{
    uint64_t n_fail = 0;

    fault_set(NONE, 0);
    for (int for_good = 0; for_good < 2; for_good++) {
        for (uint64_t n = 1;; n++) {
            struct run r = run_of(n * 3 + n % 2); /* io_uring now and then, draft now and then */
            enum lever_status st;

            const uint64_t before = lv_alloc_count();

            lv_alloc_fail_at(n, for_good);
            do
                st = advance(&r);
            while (st == LEVER_OK && r.n < 2);
            lv_alloc_fail_at(0, false);
            const bool reached = lv_alloc_count() - before >= n;

            if (st < 0 && st != LEVER_E_NOMEM)
                BAD("allocation %llu fails: status %d, \"%s\"", (unsigned long long)n, st, r.err.message);
            if (st < 0 && !r.err.message[0])
                BAD("allocation %llu fails: no message", (unsigned long long)n);
            n_fail += st < 0;
            if (st == LEVER_E_NOMEM && r.e && go_on(&r) < 0) /* the engine is still of use */
                BAD("after allocation %llu failed: %s", (unsigned long long)n, r.err.message);
            if (r.e && st < 0)
                check_ids(&r, "after failed allocation", n);
            end(&r);
            if (!reached)
                break;
        }
    }
    printf("%llu allocations failed\n", (unsigned long long)n_fail);
    if (n_fail < 100)
        BAD("too few allocations failed");
}

/* ---- models -------------------------------------------------------------- */

static bool make_tiny(const char *folder)
{
    struct tiny_spec spec = { .arch = LV_ARCH_LLAMA, .n_layer = 6, .n_embd = 256, .n_ff = 1024, .n_head = 4, .n_vocab = 320,
                              .type = TINY_ALL(LV_TYPE_Q8_0), .seed = 5 };
    struct lever_error err = { 0 };

    snprintf(kit.target, sizeof kit.target, "%s/engine-faults-%d.gguf", folder, (int)getpid());
    snprintf(kit.draft, sizeof kit.draft, "%s/engine-faults-%d-draft.gguf", folder, (int)getpid());
    kit.name = "engine-faults-";
    kit.n_ctx = 64;
    kit.n_gen = 6;
    kit.slot = 256 << 10;
    kit.ring = 4 * kit.slot;
    kit.memory = 1 << 20; /* too little: the engine says how much it needs */
    for (int i = 0; i < N_PROMPT; i++)
        kit.prompt[i] = 10 + 7 * i;
    if (tiny_write(&spec, kit.target, &err) < 0)
        return false;
    spec.jitter = 0.05f;
    if (tiny_write(&spec, kit.draft, &err) < 0)
        return false;
    return true;
}

static bool find_real(const char *file)
{
    const char *path = host_model_path(file);

    if (!path)
        return false;
    snprintf(kit.target, sizeof kit.target, "%s", path);
    kit.name = file;
    kit.memory = UINT64_C(64) << 20;
    kit.slot = 1 << 20;
    kit.ring = 4 << 20;
    kit.n_ctx = 256;
    kit.n_gen = 8;
    for (int i = 0; i < N_PROMPT; i++)
        kit.prompt[i] = 504 + 37 * i;
    return true;
}

int main(int argc, char **argv)
{
    const bool real = argc > 1 && strcmp(argv[1], "real") == 0;
    const uint64_t stride = argc > 3 ? strtoull(argv[3], NULL, 10) : 1, seed = 1;
    struct lv_rng rng = { seed };

    if (argc < 3)
        return 2;
    if (real && !find_real(argv[2]))
        return 77;
    if (!real && !make_tiny(argv[2])) {
        printf("FAIL cannot make a model in %s\n", argv[2]);
        return 1;
    }
    printf("SEED=%llu\n", (unsigned long long)seed);
    const uint64_t n_call = undisturbed();

    if (n_call) {
        test_failed_reads(n_call, stride ? stride : 1);
        test_cancel(&rng);
        test_cancel_hanging();
        if (!real) {
            test_slow_device();
            test_prompt_midway();
            test_changed_file();
            test_failed_allocations();
        }
    }
    if (!real) {
        unlink(kit.target);
        unlink(kit.draft);
    }
    printf("%u failures\n", n_bad);
    return n_bad ? 1 : 0;
}
