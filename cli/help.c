/* Usage pages, made from the table of options; facts about this build. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cli.h"

void lv_help_usage(FILE *f)
{
    fputs("usage: lever COMMAND [options]\n"
          "\n"
          "  run        generate text from a prompt\n"
          "  plan       what a memory budget is spent on, and the speed to expect\n"
          "  probe      measure this machine: flash, memory, arithmetic\n"
          "  bench      kernels: speed of the kernels; stream: speed of the weight stream;\n"
          "             decode: speed of decoding in every mode\n"
          "  info       what a model file holds\n"
          "  tokenize   text to token ids, and back\n"
          "  pack       write a model's weights in kernel layout beside it, so that streaming costs less CPU time\n"
          "  replay     decide the rounds of a trace again, beside fixed tree sizes\n"
          "  help       this page; \"lever help run\": all options of a command\n"
          "\n"
          "  --version  the version\n"
          "  --info     version, CPU and build, for bug reports\n"
          "\n"
          "example: lever run -m target.gguf -md draft.gguf --memory 768M --chat \"Hello\"\n",
          f);
}

/* text in lines of at most 100 - indent characters; the first line starts where the cursor is. */
static void put_wrapped(FILE *f, const char *text, int indent)
{
    const size_t width = (size_t)(100 - indent);

    while (strlen(text) > width) {
        size_t n = width;

        while (n > 1 && text[n] != ' ')
            n--;
        fprintf(f, "%.*s\n%*s", (int)n, text, indent, "");
        text += n + 1;
    }
    fprintf(f, "%s\n", text);
}

static void put_option(FILE *f, const struct lv_opt *o)
{
    const int indent = 34;
    char left[128], value[64];
    size_t n = 0;

    for (int i = 0; i < 3 && o->name[i]; i++)
        n += (size_t)snprintf(left + n, sizeof left - n, "%s%s", i ? ", " : "", o->name[i]);
    if (o->value)
        snprintf(left + n, sizeof left - n, " %s", lv_opt_value_text(o, value));
    fprintf(f, "  %-*s", indent - 2, left);
    if (strlen(left) > (size_t)indent - 4)
        fprintf(f, "\n%*s", indent, "");
    put_wrapped(f, o->help, indent);
    if (o->later) {
        fprintf(f, "%*s(not available in this build)\n", indent, "");
    } else if (o->value && strchr(o->value, '!')) {
        const char *sep = "(not in this build: ";

        fprintf(f, "%*s", indent, "");
        for (const char *s = strchr(o->value, '!'); s; s = strchr(s + 1, '!'), sep = ", ")
            fprintf(f, "%s%.*s", sep, (int)strcspn(s + 1, "|"), s + 1);
        fputs(")\n", f);
    }
}

void lv_help_command(FILE *f, enum lv_command c)
{
    static const char *const usage[LV_CMD_COUNT] = {
        [LV_CMD_RUN] = "usage: lever run -m FILE [-md FILE] [--memory SIZE] (-p TEXT | -f FILE | --chat TEXT) [options]\n"
                       "Generates text. The text goes to standard output, everything else to standard error.\n",
        [LV_CMD_PLAN] = "usage: lever plan -m FILE [-md FILE] [--memory SIZE] [-c N] [--profile FILE|NAME] [--json]\n"
                        "       lever plan --model-shape FILE|NAME [--draft-shape FILE|NAME] ...\n"
                        "Shows what the memory would be spent on, and predicts speed; loads nothing.\n",
        [LV_CMD_PROBE] = "usage: lever probe [DIR | FILE] [-m FILE [-md FILE] [--memory SIZE]] [--json]\n"
                         "Measures flash (a temporary file of 256 MiB in DIR, default here; or FILE), memory and arithmetic.\n"
                         "With models also what their programs take on each unit of the CPU, and which one runs them.\n",
        [LV_CMD_BENCH_KERNELS] = "usage: lever bench kernels [--types LIST] [--rows LIST] [--shape LIST] [--json]\n"
                                 "Times the kernels with weights from memory, beside what the machine can do.\n",
        [LV_CMD_BENCH_STREAM] = "usage: lever bench stream -m FILE --memory SIZE [--compute on|off] [--json]\n"
                                "Times the weight stream, beside the raw rate of the same file.\n",
        [LV_CMD_BENCH_DECODE] = "usage: lever bench decode -m FILE -md FILE [--memory SIZE] [--modes LIST] [--prompts FILE]\n"
                                "                          [--tasks LIST] [--count N] [-n N] [--json]\n"
                                "Times decoding in every mode, prompt by prompt, and compares the tokens with plain decoding.\n",
        [LV_CMD_INFO] = "usage: lever info -m FILE [-md FILE] [--all] [--json]\n"
                        "Shows the shape, tensor types, tokenizer and chat format of a model.\n",
        [LV_CMD_TOKENIZE] = "usage: lever tokenize -m FILE (-p TEXT | -f FILE | --decode IDS) [options]\n"
                            "Turns text into token ids, or ids into text.\n",
        [LV_CMD_REPLAY] = "usage: lever replay FILE [--json]\n"
                          "Decides the rounds that lever run --trace FILE wrote again, and compares with trees of one size.\n"
                          "Several traces may stand one behind the other in the file.\n",
        [LV_CMD_PACK] = "usage: lever pack -m FILE [-o FILE] [--force] [--json]\n"
                        "Writes the weights once more, in kernel layout, to FILE.lvp beside the model, where lever run finds\n"
                        "them. The text stays the same; streaming takes less CPU time.\n",
    };
    const char *group = NULL;

    fputs(usage[c], f);
    for (size_t i = 0; i < lv_n_options; i++) {
        const struct lv_opt *o = &lv_options[i];

        if (!(o->commands & LV_FOR(c)))
            continue;
        if (o->group != group)
            fprintf(f, "\n%s\n", group = o->group);
        put_option(f, o);
    }
    fputs("\nSizes: K, M, G are powers of 1024. Exit codes: 0 done, 1 other, 2 usage, 3 bad or unsupported model,\n"
          "4 does not fit the budget, 5 I/O error, 130 interrupted.\n",
          f);
}

/* The CPU's name and those of its flags that matter here, as Linux tells them. */
static void put_cpu(FILE *f)
{
    static const char *const flags[] = { " avx2 ",        " fma ",      " f16c ",     " avx_vnni ", " avx512bw ", " avx512vl ",
                                         " avx512_vnni ", " amx_int8 ", " asimddp ", " i8mm ",     " sve2 " };
    char line[8192];
    bool named = false, listed = false;
    FILE *in = fopen("/proc/cpuinfo", "r");

    while (in && !(named && listed) && fgets(line, sizeof line, in)) {
        char *value = strchr(line, ':');
        const size_t n = strlen(line);

        if (!value)
            continue;
        if (n && line[n - 1] == '\n')
            line[n - 1] = ' ';
        if (!named && !strncmp(line, "model name", 10)) {
            named = true;
            fprintf(f, "cpu      %s\n", value + 2);
        } else if (!listed && (!strncmp(line, "flags", 5) || !strncmp(line, "Features", 8))) {
            listed = true;
            fputs("features", f);
            for (size_t i = 0; i < sizeof flags / sizeof flags[0]; i++)
                if (strstr(value, flags[i]))
                    fprintf(f, " %.*s", (int)strlen(flags[i]) - 2, flags[i] + 1);
            fputs("\n", f);
        }
    }
    if (in)
        fclose(in);
    fprintf(f, "cores    %ld\n", sysconf(_SC_NPROCESSORS_ONLN));
}

void lv_help_build_info(FILE *f)
{
    fprintf(f, "lever    %s\n", lever_version());
    put_cpu(f);
    fprintf(f, "build    %s%s%s, %s, %s\n", LV_BUILD_TYPE, *LV_BUILD_SANITIZE ? " with " : "", LV_BUILD_SANITIZE,
#if defined(__x86_64__)
            "x86-64",
#elif defined(__aarch64__)
            "arm64",
#else
            "other CPU",
#endif
#if defined(__clang__)
            "clang " __clang_version__
#else
            "gcc " __VERSION__
#endif
    );
    fprintf(f, "jansson  %s\n", JANSSON_VERSION);
    fputs("which kernels a run uses: \"kernels\" in lever run --json\n", f);
}
