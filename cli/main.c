/* lever: finds the command, reads its arguments, runs it. */
#include <string.h>

#include "cli.h"

static int (*const commands[LV_CMD_COUNT])(const struct lv_args *a) = {
    [LV_CMD_RUN] = lv_cli_run,
    [LV_CMD_PLAN] = lv_cli_plan,
    [LV_CMD_PROBE] = lv_cli_probe,
    [LV_CMD_BENCH_KERNELS] = lv_cli_bench_kernels,
    [LV_CMD_BENCH_STREAM] = lv_cli_bench_stream,
    [LV_CMD_BENCH_DECODE] = lv_cli_bench_decode,
    [LV_CMD_INFO] = lv_cli_info,
    [LV_CMD_TOKENIZE] = lv_cli_tokenize,
    [LV_CMD_PACK] = lv_cli_pack,
    [LV_CMD_REPLAY] = lv_cli_replay,
};

/* Commands that the documents name and this build lacks, with what comes nearest. */
static const struct {
    const char *name, *instead;
} planned[] = {
    { "chat", "lever run --chat TEXT answers one turn" },
    { "serve", "lever run answers one prompt" },
    { "pull", "download a GGUF file and name it with -m FILE" },
};
#define N_PLANNED (sizeof planned / sizeof planned[0])

static const char *known_name(size_t i)
{
    static const char *const others[] = { "help", "bench", "--version", "--info", "--help" };

    if (i < LV_CMD_COUNT)
        return lv_command_name((enum lv_command)i);
    i -= LV_CMD_COUNT;
    return i < N_PLANNED ? planned[i].name : others[i - N_PLANNED];
}
#define N_KNOWN (LV_CMD_COUNT + N_PLANNED + 5)

static bool find_command(const char *name, enum lv_command *c)
{
    for (int i = 0; i < LV_CMD_COUNT; i++) {
        if (!strcmp(name, lv_command_name((enum lv_command)i))) {
            *c = (enum lv_command)i;
            return true;
        }
    }
    return false;
}

static int unknown_command(const char *name)
{
    const char *near = lv_args_nearest(name, known_name, N_KNOWN);

    for (size_t i = 0; i < N_PLANNED; i++) {
        if (!strcmp(name, planned[i].name)) {
            lv_error("lever %s is not there yet; %s", name, planned[i].instead);
            return LV_EXIT_USAGE;
        }
    }
    if (!strcmp(name, "bench"))
        lv_error("lever bench needs what to measure: lever bench kernels, lever bench stream or lever bench decode");
    else if (near)
        lv_error("unknown command \"%s\"; did you mean %s?", name, near);
    else if (name[0] == '-')
        lv_error("options come after the command: lever run %s ...", name);
    else
        lv_error("unknown command \"%s\"; \"lever help\" lists them", name);
    return LV_EXIT_USAGE;
}

static int help(const char *about)
{
    enum lv_command c;

    if (!about)
        lv_help_usage(stdout);
    else if (find_command(about, &c))
        lv_help_command(stdout, c);
    else
        return unknown_command(about);
    return lv_stdout_done() ? LV_EXIT_OK : LV_EXIT_IO;
}

/* The command's name: one word, or "bench" and the next one. Returns the arguments it takes; name: buf or one of them. */
static int command_words(int argc, char **argv, int first, const char **name, char buf[64])
{
    *name = argc > first ? argv[first] : NULL;
    if (!*name || strcmp(*name, "bench") != 0 || argc <= first + 1 || argv[first + 1][0] == '-')
        return *name != NULL;
    snprintf(buf, 64, "bench %s", argv[first + 1]);
    *name = buf;
    return 2;
}

static int run_command(enum lv_command c, int argc, char **argv, int first)
{
    struct lever_error err = { .status = LEVER_OK };
    struct lv_args args;
    int code;

    if (lv_args_parse(&args, c, argc, argv, first, &err) < 0) {
        lv_error("%s", err.message);
        code = lv_exit_code(err.status);
    } else if (args.help) {
        code = help(lv_command_name(c));
    } else {
        code = commands[c](&args);
    }
    lv_args_deinit(&args);
    return code;
}

int main(int argc, char **argv)
{
    char words[64], about[64];
    const char *name, *topic;
    const int n = command_words(argc, argv, 1, &name, words);
    enum lv_command c;

    if (!name) {
        lv_help_usage(stderr);
        return LV_EXIT_USAGE;
    }
    if (find_command(name, &c))
        return run_command(c, argc, argv, 1 + n);
    if (!strcmp(name, "help") || !strcmp(name, "--help") || !strcmp(name, "-h")) {
        command_words(argc, argv, 2, &topic, about);
        return help(topic);
    }
    if (!strcmp(name, "--version")) {
        printf("lever %s\n", lever_version());
        return lv_stdout_done() ? LV_EXIT_OK : LV_EXIT_IO;
    }
    if (!strcmp(name, "--info")) {
        lv_help_build_info(stdout);
        return lv_stdout_done() ? LV_EXIT_OK : LV_EXIT_IO;
    }
    return unknown_command(name);
}
