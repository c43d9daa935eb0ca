/* lever: finds the command, reads its arguments, runs it. */
#include <string.h>

#include "cli.h"

static int (*const commands[LV_CMD_COUNT])(const struct lv_args *a) = {
    [LV_CMD_RUN] = lv_cli_run,
    [LV_CMD_INFO] = lv_cli_info,
    [LV_CMD_TOKENIZE] = lv_cli_tokenize,
};

/* Commands that the documents name and this build lacks, with what comes nearest. */
static const struct {
    const char *name, *instead;
} planned[] = {
    { "plan", "lever run with a --memory that is too small names the least that works" },
    { "bench", "lever run --json gives speed and memory of one run" },
    { "probe", "nothing measures the device yet" },
    { "pack", "GGUF files are read as they are" },
    { "replay", "there are no traces yet" },
    { "chat", "lever run --chat TEXT answers one turn" },
    { "serve", "lever run answers one prompt" },
    { "pull", "download a GGUF file and name it with -m FILE" },
};
#define N_PLANNED (sizeof planned / sizeof planned[0])

static const char *known_name(size_t i)
{
    static const char *const others[] = { "help", "--version", "--info", "--help" };

    if (i < LV_CMD_COUNT)
        return lv_command_name((enum lv_command)i);
    i -= LV_CMD_COUNT;
    return i < N_PLANNED ? planned[i].name : others[i - N_PLANNED];
}
#define N_KNOWN (LV_CMD_COUNT + N_PLANNED + 4)

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
    if (near)
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

static int run_command(enum lv_command c, int argc, char **argv)
{
    struct lever_error err = { .status = LEVER_OK };
    struct lv_args args;
    int code;

    if (lv_args_parse(&args, c, argc, argv, 2, &err) < 0) {
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
    const char *name = argc > 1 ? argv[1] : NULL;
    enum lv_command c;

    if (!name) {
        lv_help_usage(stderr);
        return LV_EXIT_USAGE;
    }
    if (find_command(name, &c))
        return run_command(c, argc, argv);
    if (!strcmp(name, "help") || !strcmp(name, "--help") || !strcmp(name, "-h"))
        return help(argc > 2 ? argv[2] : NULL);
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
