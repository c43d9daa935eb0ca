/* Reads argv by the table of options.c. Exact names only (llama.cpp's "-ngl" is no bundle of letters),
 * a value in the next argument or after '=' of a long name. */
#include "args.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "cli.h"

#define MAX_HEAD 100000000 /* tokens: more than any vocabulary has */

static const char *const command_names[LV_CMD_COUNT] = {
    [LV_CMD_RUN] = "run",
    [LV_CMD_PLAN] = "plan",
    [LV_CMD_PROBE] = "probe",
    [LV_CMD_BENCH_KERNELS] = "bench kernels",
    [LV_CMD_BENCH_STREAM] = "bench stream",
    [LV_CMD_BENCH_DECODE] = "bench decode",
    [LV_CMD_INFO] = "info",
    [LV_CMD_TOKENIZE] = "tokenize",
    [LV_CMD_PACK] = "pack",
    [LV_CMD_REPLAY] = "replay",
};

const char *lv_command_name(enum lv_command c)
{
    return command_names[c];
}

/* ---- names ---- */

/* Edit distance with neighbours swapped counting one; names longer than 31 letters never match. */
static unsigned distance(const char *a, const char *b)
{
    unsigned d[32][32];
    const size_t na = strlen(a), nb = strlen(b);

    if (na > 31 || nb > 31)
        return 99;
    for (size_t i = 0; i <= na; i++) {
        for (size_t j = 0; j <= nb; j++) {
            unsigned best = (unsigned)(i + j); /* the borders */

            if (i > 0 && j > 0) {
                best = d[i - 1][j - 1] + (a[i - 1] != b[j - 1]);
                best = d[i - 1][j] + 1 < best ? d[i - 1][j] + 1 : best;
                best = d[i][j - 1] + 1 < best ? d[i][j - 1] + 1 : best;
                if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] && d[i - 2][j - 2] + 1 < best)
                    best = d[i - 2][j - 2] + 1;
            }
            d[i][j] = best;
        }
    }
    return d[na][nb];
}

const char *lv_args_nearest(const char *typed, const char *(*name)(size_t i), size_t n)
{
    const size_t len = strlen(typed);
    unsigned best = len <= 4 ? 2 : len <= 8 ? 3 : 4; /* one of them is too far */
    const char *found = NULL;

    for (size_t i = 0; i < n; i++) {
        const char *s = name(i);
        const unsigned d = s ? distance(typed, s) : 99;

        if (d < best) {
            best = d;
            found = s;
        }
    }
    return found;
}

static const char *option_name(size_t i)
{
    return lv_options[i / 3].name[i % 3];
}

/* True when arg is name, or "name=value" of a long name; *value then points into arg. */
static bool name_matches(const char *arg, const char *name, const char **value)
{
    const size_t n = strlen(name);

    if (strncmp(arg, name, n) != 0)
        return false;
    *value = arg[n] == '=' && name[1] == '-' ? arg + n + 1 : NULL;
    return arg[n] == '\0' || *value;
}

static const struct lv_opt *find_option(const char *arg, const char **value)
{
    for (size_t i = 0; i < 3 * lv_n_options; i++)
        if (option_name(i) && name_matches(arg, option_name(i), value))
            return &lv_options[i / 3];
    return NULL;
}

static const struct lv_foreign *find_foreign(const char *arg)
{
    const char *value;

    for (size_t i = 0; i < lv_n_foreign_options; i++) {
        for (size_t k = 0; k < 4 && lv_foreign_options[i].names[k]; k++) {
            const char *name = lv_foreign_options[i].names[k];
            const size_t n = strlen(name);

            if (name[n - 1] == '*' ? !strncmp(arg, name, n - 1) : name_matches(arg, name, &value))
                return &lv_foreign_options[i];
        }
    }
    return NULL;
}

static enum lever_status unknown_option(const char *arg, enum lv_command c, struct lever_error *err)
{
    const struct lv_foreign *foreign = find_foreign(arg);
    const char *near = lv_args_nearest(arg, option_name, 3 * lv_n_options);

    if (foreign)
        return lv_cli_fail(err, LEVER_E_ARG, "%s is an option of llama.cpp: %s", arg, foreign->instead);
    if (near)
        return lv_cli_fail(err, LEVER_E_ARG, "unknown option %s; did you mean %s?", arg, near);
    return lv_cli_fail(err, LEVER_E_ARG, "unknown option %s; \"lever help %s\" lists them", arg, lv_command_name(c));
}

const char *lv_opt_value_text(const struct lv_opt *o, char buf[64])
{
    size_t n = 0;

    for (const char *s = o->value ? o->value : ""; *s && n < 63; s++)
        if (*s != '!')
            buf[n++] = *s;
    buf[n] = '\0';
    return buf;
}

/* ---- values ---- */

/* strtod also takes spaces, hexadecimal, "nan" and "inf"; numbers here are plain decimals. */
static bool parse_real(const char *s, double *out)
{
    char *end;

    if (!*s || s[strspn(s, "0123456789+-.eE")])
        return false;
    errno = 0;
    *out = strtod(s, &end);
    return !*end && end != s && isfinite(*out);
}

static bool parse_u64(const char *s, uint64_t *out)
{
    if (!*s || s[strspn(s, "0123456789")])
        return false;
    errno = 0;
    *out = strtoull(s, NULL, 10);
    return errno == 0;
}

/* 640M, 1.25G, 4KiB, 1000; powers of 1024. */
static bool parse_size(const char *s, uint64_t *out)
{
    static const char units[] = "kmgtKMGT";
    const size_t n = strspn(s, "0123456789.");
    const char *rest = s + n, *unit = *rest ? strchr(units, *rest) : NULL;
    char number[32];
    double x;

    if (n == 0 || n >= sizeof number)
        return false;
    memcpy(number, s, n);
    number[n] = '\0';
    if (unit) {
        rest++;
        if (*rest == 'i')
            rest++;
    }
    if (*rest == 'B' || *rest == 'b')
        rest++;
    if (*rest)
        return false;
    if (!unit)
        return parse_u64(number, out) && *out <= INT64_MAX;
    if (!parse_real(number, &x))
        return false;
    x = ldexp(x, (int)((unit - units) % 4 + 1) * 10);
    if (!(x < 0x1p62))
        return false;
    *out = (uint64_t)x;
    return true;
}

/* Integer in [min, max] of o; the message is the caller's. */
static bool parse_int(const char *s, double min, double max, int64_t *out)
{
    const bool negative = *s == '-';
    uint64_t u;

    if (!parse_u64(s + negative, &u) || u > (uint64_t)INT32_MAX * 2)
        return false;
    *out = negative ? -(int64_t)u : (int64_t)u;
    return (double)*out >= min && (double)*out <= max;
}

/* "auto|off|!tree": the index of value; a '!' marks what this build lacks. */
static enum lever_status set_choice(const struct lv_opt *o, const char *value, int *out, struct lever_error *err)
{
    char plain[64];
    int i = 0;

    for (const char *s = o->value; *s; i++) {
        const bool lacking = *s == '!';
        const size_t n = strcspn(s += lacking, "|");
        /* "N" stands for any number */
        const bool number = n == 1 && *s == 'N' && *value && !value[strspn(value, "0123456789")];

        if (number || (strlen(value) == n && !strncmp(value, s, n))) {
            if (lacking)
                return lv_cli_fail(err, LEVER_E_ARG, "%s %s is not available in this build; leave it out", o->name[0],
                                   value);
            *out = i;
            return LEVER_OK;
        }
        s += n + (s[n] == '|');
    }
    return lv_cli_fail(err, LEVER_E_ARG, "%s: found \"%s\", expected %s", o->name[0], value,
                       lv_opt_value_text(o, plain));
}

static enum lever_status add_bias(struct lv_args *a, const char *value, struct lever_error *err)
{
    const char *eq = strchr(value, '=');
    char id_text[16];
    int64_t id = 0;
    double x = 0;
    bool good = eq && eq - value < (ptrdiff_t)sizeof id_text;

    if (good) {
        memcpy(id_text, value, (size_t)(eq - value));
        id_text[eq - value] = '\0';
        good = parse_int(id_text, 0, INT32_MAX, &id);
    }
    if (good && !strcmp(eq + 1, "-inf"))
        x = -INFINITY;
    else if (good)
        good = parse_real(eq + 1, &x) && fabs(x) <= 1e6;
    if (!good)
        return lv_cli_fail(err, LEVER_E_ARG,
                           "--logit-bias: found \"%s\", expected ID=X with a token id and a number of -1e6..1e6 or -inf",
                           value);
    a->bias[a->sampling.n_logit_bias++] = (struct lever_logit_bias){ (int32_t)id, (float)x };
    return LEVER_OK;
}

/* A size, or for bench decode a list of different ones. */
static enum lever_status add_memory(struct lv_args *a, const struct lv_opt *o, const char *value, struct lever_error *err)
{
    a->n_memory = 0;
    for (const char *s = value;; s++) {
        const size_t len = strcspn(s, ",");
        char one[32] = "";
        uint64_t u = 0;

        if (len < sizeof one)
            memcpy(one, s, len);
        if (!strcmp(one, "auto"))
            u = o->auto_value;
        else if (!strcmp(one, "unlimited"))
            u = LEVER_MEMORY_UNLIMITED;
        else if (!parse_size(one, &u) || u == 0)
            return lv_cli_fail(err, LEVER_E_ARG, "%s: found \"%.*s\", expected a size such as 640M, 1.25G or a number of "
                               "bytes, auto or unlimited", o->name[0], (int)(len < 200 ? len : 200), s);
        for (uint32_t i = 0; i < a->n_memory; i++)
            if (a->memory[i] == u)
                return lv_cli_fail(err, LEVER_E_ARG, "%s: %s is there twice; list each size once", o->name[0], one);
        if (a->n_memory == (a->command == LV_CMD_BENCH_DECODE ? LV_CAP_MEMORY : 1))
            return lv_cli_fail(err, LEVER_E_ARG, "%s: found \"%s\", lever %s takes %s", o->name[0], value,
                               lv_command_name(a->command),
                               a->command == LV_CMD_BENCH_DECODE ? "at most 16 sizes" : "one size");
        a->memory[a->n_memory++] = u;
        s += len;
        if (!*s)
            break;
    }
    a->memory_bytes = a->memory[0];
    return LEVER_OK;
}

static enum lever_status bad_number(const struct lv_opt *o, const char *value, const char *what,
                                    struct lever_error *err)
{
    return lv_cli_fail(err, LEVER_E_ARG, "%s: found \"%s\", expected %s of %.10g..%.10g", o->name[0], value, what,
                       o->min, o->max);
}

static enum lever_status set_value(struct lv_args *a, const struct lv_opt *o, const char *value,
                                   struct lever_error *err)
{
    void *field = (char *)a + o->offset;
    int64_t i;
    uint64_t u;
    double x;

    switch (o->kind) {
    case LV_OPT_FLAG:
        *(bool *)field = true;
        break;
    case LV_OPT_TEXT:
    case LV_OPT_FILE:
        if (o->kind == LV_OPT_FILE && !*value)
            return lv_cli_fail(err, LEVER_E_ARG, "%s: the value is empty, expected %s", o->name[0], o->value);
        *(const char **)field = value;
        break;
    case LV_OPT_SIZE:
        if (!strcmp(value, "auto"))
            u = o->auto_value;
        else if (!parse_size(value, &u) || u == 0)
            return lv_cli_fail(err, LEVER_E_ARG, "%s: found \"%s\", expected a size such as 640M, 1.25G or a number of "
                               "bytes, or auto", o->name[0], value);
        *(uint64_t *)field = u;
        break;
    case LV_OPT_MEMORY:
        return add_memory(a, o, value, err);
    case LV_OPT_U32:
        if (!parse_int(value, o->min, o->max, &i))
            return bad_number(o, value, "a whole number", err);
        *(uint32_t *)field = (uint32_t)i;
        break;
    case LV_OPT_I32:
        if (!parse_int(value, o->min, o->max, &i))
            return bad_number(o, value, "a whole number", err);
        *(int32_t *)field = (int32_t)i;
        break;
    case LV_OPT_U64:
        if (!parse_u64(value, &u))
            return lv_cli_fail(err, LEVER_E_ARG, "%s: found \"%s\", expected a whole number of 0..%" PRIu64,
                               o->name[0], value, UINT64_MAX);
        *(uint64_t *)field = u;
        break;
    case LV_OPT_F32:
        if (!parse_real(value, &x) || !(x >= o->min && x <= o->max))
            return bad_number(o, value, "a number", err);
        *(float *)field = (float)x;
        break;
    case LV_OPT_CHOICE:
        return set_choice(o, value, field, err);
    case LV_OPT_HEAD:
        if (!strcmp(value, "auto"))
            *(uint32_t *)field = LEVER_HEAD_AUTO;
        else if (!strcmp(value, "full"))
            *(uint32_t *)field = LEVER_HEAD_FULL;
        else if (!strcmp(value, "q4"))
            *(uint32_t *)field = LEVER_HEAD_Q4;
        else if (parse_int(value, 1, MAX_HEAD, &i))
            *(uint32_t *)field = (uint32_t)i;
        else
            return lv_cli_fail(err, LEVER_E_ARG, "--draft-head: found \"%s\", expected auto, full, q4 or a number of tokens of "
                               "1..%d", value, MAX_HEAD);
        break;
    case LV_OPT_STOP:
        if (!*value)
            return lv_cli_fail(err, LEVER_E_ARG, "--stop: the text is empty, expected at least one character");
        a->stop[a->n_stop++] = value;
        break;
    case LV_OPT_BIAS:
        return add_bias(a, value, err);
    }
    return LEVER_OK;
}

/* ---- the whole ---- */

static enum lever_status check(const struct lv_args *a, struct lever_error *err)
{
    const int n_text = !!a->prompt + !!a->file + !!a->chat + !!a->decode;
    const char *name = lv_command_name(a->command);

    if (a->command == LV_CMD_PROBE && a->draft && !a->target)
        return lv_cli_fail(err, LEVER_E_ARG, "-md without -m: lever probe measures a draft beside its target; add -m FILE");
    if (a->command == LV_CMD_PROBE || a->command == LV_CMD_BENCH_KERNELS)
        return LEVER_OK;
    if (a->command == LV_CMD_REPLAY)
        return a->trace ? LEVER_OK : lv_cli_fail(err, LEVER_E_ARG, "lever replay needs a trace: lever replay FILE");
    if (a->model_shape || a->draft_shape) {
        if (!a->model_shape || a->target || a->draft)
            return lv_cli_fail(err, LEVER_E_ARG, "--model-shape stands in place of -m, --draft-shape in place of -md; both models "
                               "are files or both are described");
        return LEVER_OK;
    }
    if (!a->target)
        return lv_cli_fail(err, LEVER_E_ARG, "lever %s needs a model: -m FILE", name);
    if (a->command == LV_CMD_BENCH_STREAM && a->memory_bytes == LEVER_MEMORY_UNLIMITED)
        return lv_cli_fail(err, LEVER_E_ARG, "lever %s needs --memory SIZE: without a bound nothing is streamed", name);
    if (a->command != LV_CMD_RUN && a->command != LV_CMD_TOKENIZE)
        return LEVER_OK;
    if (n_text != 1) {
        const char *which = a->command == LV_CMD_RUN ? "-p TEXT, -f FILE or --chat TEXT"
                                                      : "-p TEXT, -f FILE or --decode IDS";

        return lv_cli_fail(err, LEVER_E_ARG, "lever %s needs %s of %s", name, n_text ? "only one" : "one", which);
    }
    if (a->command == LV_CMD_RUN && !a->draft &&
        (a->speculation == LEVER_SPEC_CHAIN || a->speculation == LEVER_SPEC_TREE))
        return lv_cli_fail(err, LEVER_E_ARG, "--speculation %s needs a draft model: -md FILE",
                           a->speculation == LEVER_SPEC_CHAIN ? "chain" : "tree");
    return LEVER_OK;
}

static enum lever_status args_init(struct lv_args *a, enum lv_command command, int argc, struct lever_error *err)
{
    memset(a, 0, sizeof *a);
    a->command = command;
    a->n_predict = command == LV_CMD_BENCH_DECODE ? 64 : 256;
    a->n_off = 16;
    a->repeat = 1;
    a->memory_bytes = a->memory[0] = LEVER_MEMORY_UNLIMITED;
    a->n_memory = 1;
    lever_sampling_default(&a->sampling, sizeof a->sampling);
    a->stop = calloc((size_t)argc, sizeof *a->stop);
    a->bias = calloc((size_t)argc, sizeof *a->bias);
    a->sampling.logit_bias = a->bias;
    a->sampling.n_logit_bias = 0;
    if (!a->stop || !a->bias)
        return lv_cli_fail(err, LEVER_E_NOMEM, "no memory for %d arguments", argc);
    return LEVER_OK;
}

enum lever_status lv_args_parse(struct lv_args *a, enum lv_command command, int argc, char **argv, int first,
                                struct lever_error *err)
{
    enum lever_status st = args_init(a, command, argc, err);

    a->argc = argc;
    a->argv = (const char *const *)argv;

    for (int i = first; st == LEVER_OK && i < argc; i++) {
        const char *arg = argv[i], *value = NULL, *ignored;
        const struct lv_opt *o = find_option(arg, &value);
        char text[64];

        if (command == LV_CMD_PROBE && arg[0] && arg[0] != '-' && !a->dir) {
            a->dir = arg;
            continue;
        }
        if (command == LV_CMD_REPLAY && arg[0] && arg[0] != '-' && !a->trace) {
            a->trace = arg;
            continue;
        }
        if (arg[0] != '-' || !arg[1])
            return lv_cli_fail(err, LEVER_E_ARG, "unexpected argument \"%s\"; options of lever %s start with a dash%s", arg,
                               lv_command_name(command),
                               command == LV_CMD_RUN || command == LV_CMD_TOKENIZE ? ", a prompt goes after -p" : "");
        if (!o)
            return unknown_option(arg, command, err);
        if (!(o->commands & LV_FOR(command)))
            return lv_cli_fail(err, LEVER_E_ARG, "lever %s has no option %s; \"lever help %s\" lists its options",
                               lv_command_name(command), o->name[0], lv_command_name(command));
        if (o->later)
            return lv_cli_fail(err, LEVER_E_ARG, "%s is not available in this build; leave it out", o->name[0]);
        if (o->kind == LV_OPT_FLAG && value)
            return lv_cli_fail(err, LEVER_E_ARG, "%s takes no value, found \"%s\"", o->name[0], value);
        if (o->kind != LV_OPT_FLAG && !value) {
            value = argv[i + 1]; /* argv ends with NULL */
            if (!value || (o->kind != LV_OPT_TEXT && o->kind != LV_OPT_STOP && find_option(value, &ignored)))
                return lv_cli_fail(err, LEVER_E_ARG, "%s needs a value: %s%s%s", arg,
                                   lv_opt_value_text(o, text),
                                   value ? "; found the option " : "", value ? value : "");
            i++;
        }
        st = set_value(a, o, value, err);
        if (a->help)
            return LEVER_OK;
    }
    return st == LEVER_OK ? check(a, err) : st;
}

void lv_args_deinit(struct lv_args *a)
{
    free(a->stop);
    free(a->bias);
    a->stop = NULL;
    a->bias = NULL;
}
