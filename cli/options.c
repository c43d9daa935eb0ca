/* The options of all commands, and llama.cpp's flags with what to use instead. Data only. */
#include "args.h"

#define RUN LV_FOR(LV_CMD_RUN)
#define INFO LV_FOR(LV_CMD_INFO)
#define TOK LV_FOR(LV_CMD_TOKENIZE)
#define PLAN LV_FOR(LV_CMD_PLAN)
#define PROBE LV_FOR(LV_CMD_PROBE)
#define PACK LV_FOR(LV_CMD_PACK)
#define REPLAY LV_FOR(LV_CMD_REPLAY)
#define BENCH_K LV_FOR(LV_CMD_BENCH_KERNELS)
#define BENCH_S LV_FOR(LV_CMD_BENCH_STREAM)
#define BENCH_D LV_FOR(LV_CMD_BENCH_DECODE)
#define BENCH (BENCH_K | BENCH_S)
#define AT(field) offsetof(struct lv_args, field)

/* Largest context and token count asked for: keeps every product of sizes far from overflow. */
#define MAX_TOK 16777216.0
#define MAX_F32 1e6

static const char MODEL[] = "Model and memory";
static const char PROMPT[] = "Prompt";
static const char GENERATE[] = "Generation";
static const char SPECULATE[] = "Speculation";
static const char TUNE[] = "Tests and tuning";
static const char MEASURE[] = "Measuring";
static const char OUTPUT[] = "Output";

const struct lv_opt lv_options[] = {
    { { "-m", "--model" }, LV_OPT_FILE, RUN | PLAN | PROBE | BENCH_S | INFO | TOK | PACK | BENCH_D, AT(target), 0, 0, "FILE", MODEL,
      "target model, a GGUF file (the first one of a split model)", 0, false },
    { { "-md", "--spec-draft-model", "--model-draft" }, LV_OPT_FILE, RUN | PLAN | PROBE | INFO | BENCH_D, AT(draft), 0, 0, "FILE", MODEL,
      "draft model, a GGUF file with the target's vocabulary", 0, false },
    { { "--memory" }, LV_OPT_MEMORY, RUN | PLAN | PROBE | BENCH_S | BENCH_D, AT(memory), 1, 0, "SIZE", MODEL,
      "bound on all memory of the process: 640M, 1.25G, bytes, auto (what machine and cgroup give), or unlimited (default: "
      "everything resident); bench decode takes a list: 640M,1G,unlimited", LEVER_MEMORY_AUTO, false },
    { { "-c", "--ctx-size" }, LV_OPT_U32, RUN | PLAN | BENCH_S | BENCH_D, AT(n_ctx), 0, MAX_TOK, "N", MODEL,
      "context in tokens; default: prompt + n, rounded up to 256; plan, bench stream: 4096", 0, false },
    { { "-t", "--threads" }, LV_OPT_U32, RUN | PLAN | PROBE | BENCH | BENCH_D, AT(n_threads), 0, 512, "N", MODEL,
      "worker threads; default: one per usable core", 0, false },

    { { "-p", "--prompt" }, LV_OPT_TEXT, RUN | TOK, AT(prompt), 0, 0, "TEXT", PROMPT,
      "raw text; special tokens in it are parsed", 0, false },
    { { "-f", "--file" }, LV_OPT_FILE, RUN | TOK, AT(file), 0, 0, "FILE", PROMPT,
      "raw text from a file; - is standard input", 0, false },
    { { "--chat" }, LV_OPT_TEXT, RUN, AT(chat), 0, 0, "TEXT", PROMPT,
      "one user turn through the model's chat template", 0, false },
    { { "--no-special" }, LV_OPT_FLAG, TOK, AT(no_special), 0, 0, NULL, PROMPT,
      "special tokens are plain text; with --decode: left out", 0, false },
    { { "--add-bos" }, LV_OPT_FLAG, TOK, AT(add_bos), 0, 0, NULL, PROMPT,
      "put the beginning token first, where the model has one", 0, false },
    { { "--decode" }, LV_OPT_TEXT, TOK, AT(decode), 0, 0, "IDS", PROMPT,
      "the other way: token ids (\"1,2,3\" or \"1 2 3\") to text", 0, false },

    { { "-n", "--n-predict" }, LV_OPT_I32, RUN | BENCH_D, AT(n_predict), -1, MAX_TOK, "N", GENERATE,
      "most tokens to generate; default 256, bench: 64; 0: only compute the prompt; -1: until the text ends or the context is full",
      0, false },
    { { "--stop" }, LV_OPT_STOP, RUN, AT(stop), 0, 0, "TEXT", GENERATE,
      "end before this text; may be given several times", 0, false },
    { { "--ignore-eos" }, LV_OPT_FLAG, RUN | BENCH_D, AT(sampling.ignore_eos), 0, 0, NULL, GENERATE,
      "never generate an end token", 0, false },
    { { "--temp", "--temperature" }, LV_OPT_F32, RUN | BENCH_D, AT(sampling.temperature), 0, 100, "X", GENERATE,
      "temperature; default 0: greedy", 0, false },
    { { "--top-k" }, LV_OPT_I32, RUN | BENCH_D, AT(sampling.top_k), 0, MAX_TOK, "K", GENERATE,
      "only the K likeliest tokens; default 0: off", 0, false },
    { { "--top-p" }, LV_OPT_F32, RUN | BENCH_D, AT(sampling.top_p), 1e-6, 1, "P", GENERATE,
      "only the likeliest tokens that sum to P; default 1: off", 0, false },
    { { "--min-p" }, LV_OPT_F32, RUN | BENCH_D, AT(sampling.min_p), 0, 0.999999, "P", GENERATE,
      "only tokens with P times the best probability; default 0: off", 0, false },
    { { "--seed" }, LV_OPT_U64, RUN | BENCH_D, AT(sampling.seed), 0, 0, "S", GENERATE,
      "the same seed gives the same text, whatever the memory or speculation; default 0", 0, false },
    { { "--repeat-penalty" }, LV_OPT_F32, RUN, AT(sampling.repeat_penalty), 1e-6, MAX_F32, "X", GENERATE,
      "default 1: off", 0, false },
    { { "--presence-penalty" }, LV_OPT_F32, RUN, AT(sampling.presence_penalty), -MAX_F32, MAX_F32, "X", GENERATE,
      "default 0: off", 0, false },
    { { "--frequency-penalty" }, LV_OPT_F32, RUN, AT(sampling.frequency_penalty), -MAX_F32, MAX_F32, "X", GENERATE,
      "default 0: off", 0, false },
    { { "--repeat-last-n" }, LV_OPT_I32, RUN, AT(sampling.penalty_last_n), -1, MAX_TOK, "N", GENERATE,
      "tokens that the penalties look back at; default 64; -1: all", 0, false },
    { { "--logit-bias" }, LV_OPT_BIAS, RUN, AT(bias), 0, 0, "ID=X", GENERATE,
      "add X to the logit of token ID (-inf bans it); may be given several times", 0, false },

    { { "--speculation" }, LV_OPT_CHOICE, RUN | PLAN, AT(speculation), 0, 0, "auto|off|chain|tree", SPECULATE,
      "how draft tokens are guessed; the text is the same in every mode", 0, false },
    { { "--spec-draft-n-max" }, LV_OPT_U32, RUN | PLAN | BENCH_D, AT(spec_draft_n_max), 0, 256, "K", SPECULATE,
      "most draft tokens of a chain in a round; default: chosen by Lever", 0, false },
    { { "--peek" }, LV_OPT_CHOICE, RUN, AT(peek), 0, 0, "on|off", SPECULATE,
      "look at a late layer of the target to steer drafting during a pass", 0, false },
    { { "--overlap" }, LV_OPT_CHOICE, RUN, AT(overlap), 0, 0, "on|off", SPECULATE,
      "draft while the target is verifying", 0, false },
    { { "--prune" }, LV_OPT_CHOICE, RUN | BENCH_D, AT(prune), 0, 0, "auto|on|off", SPECULATE,
      "drop unlikely branches in the middle of a pass; auto: while that measures as a gain", 0, false },
    { { "--lens" }, LV_OPT_FILE, RUN, AT(lens), 0, 0, "FILE|DIR|off", SPECULATE,
      "what --prune reads states of the target's layers by; default: the target's in share/lever, if it is there", 0, false },

    { { "--sidecar" }, LV_OPT_FILE, RUN | PLAN | BENCH_S | BENCH_D, AT(sidecar), 0, 0, "FILE|off", TUNE,
      "weights in kernel layout, made by lever pack; default: MODEL.lvp, if it is there", 0, false },
    { { "--cpu" }, LV_OPT_FILE, RUN | PLAN | PROBE | BENCH | BENCH_D, AT(cpu_level), 0, 0, "LEVEL", TUNE,
      "force a kernel level: ref, avx2, avxvnni, avx512vnni, ...", 0, false },
    { { "--device" }, LV_OPT_CHOICE, RUN | PLAN | BENCH_D, AT(device), 0, 0, "cpu|opencl|auto", TUNE,
      "where the draft runs; auto: on a device if that is faster", 0, false },
    { { "--reader" }, LV_OPT_CHOICE, RUN | PLAN | BENCH_S | BENCH_D, AT(reader), 0, 0, "pread|uring|buffered", TUNE,
      "how weights are read; default pread: direct reads, buffered where the file system refuses them", 0, false },
    { { "--ring" }, LV_OPT_SIZE, RUN | PLAN | BENCH_S | BENCH_D, AT(ring_bytes), 1, 0, "SIZE", TUNE, "stream ring; default auto", 0, false },
    { { "--slot" }, LV_OPT_SIZE, RUN | PLAN | BENCH_S | BENCH_D, AT(slot_bytes), 1, 0, "SIZE", TUNE, "slot of the ring; default auto", 0, false },
    { { "--tree-rows" }, LV_OPT_U32, RUN | BENCH_D, AT(tree_rows), 1, 256, "N", TUNE, "most rows of a verify pass", 0, false },
    { { "--draft-head" }, LV_OPT_HEAD, RUN | PLAN, AT(draft_head), 0, 0, "auto|full|q4|N", TUNE,
      "output head of the draft: whole, at 4 bits, or cut to N tokens", 0, false },
    { { "--draft-layers" }, LV_OPT_U32, RUN, AT(draft_layers), 1, 1024, "N", TUNE,
      "use the target's first N layers as the draft", 0, true },
    { { "--no-cache" }, LV_OPT_FLAG, RUN | PLAN | PROBE | BENCH_D, AT(no_cache), 0, 0, NULL, TUNE,
      "neither use nor keep what earlier runs found: measurements (plan, probe), reference tokens (bench)", 0, false },
    { { "--no-warmup" }, LV_OPT_FLAG, RUN, AT(ignored), 0, 0, NULL, TUNE,
      "no warm-up run (this build makes none)", 0, false },
    { { "--trace" }, LV_OPT_FILE, RUN, AT(trace), 0, 0, "FILE", TUNE,
      "write one JSON object a round: its tree, times and bytes (for lever replay)", 0, false },

    { { "--profile" }, LV_OPT_FILE, PLAN, AT(profile), 0, 0, "FILE", MEASURE,
      "device to predict for, as lever probe --json prints it; default: this machine, measured before or now", 0, false },
    { { "--types" }, LV_OPT_FILE, BENCH_K, AT(types), 0, 0, "LIST", MEASURE,
      "tensor types, as in q4_k,q6_k; default: all", 0, false },
    { { "--rows" }, LV_OPT_FILE, BENCH, AT(rows), 0, 0, "LIST", MEASURE,
      "tokens at once; kernels: a list, default 1,4,8,16,32,64; stream: one number, default 1", 0, false },
    { { "--shape" }, LV_OPT_FILE, BENCH_K, AT(shape), 0, 0, "LIST", MEASURE,
      "output rows x columns of the matrices; default 8960x1536,1536x8960", 0, false },
    { { "--compute" }, LV_OPT_CHOICE, BENCH_S, AT(compute), 0, 0, "on|off", MEASURE,
      "on (default): real passes; off: what arrives is given back at once", 0, false },
    { { "--passes" }, LV_OPT_U32, BENCH_S, AT(n_pass), 1, 100000, "N", MEASURE,
      "passes to time; default: about three seconds of them", 0, false },
    { { "--modes" }, LV_OPT_FILE, BENCH_D, AT(modes), 0, 0, "LIST", MEASURE,
      "some of off,chain,tree,lever; default: all", 0, false },
    { { "--prompts" }, LV_OPT_FILE, BENCH_D, AT(prompts), 0, 0, "FILE", MEASURE,
      "JSON lines: id, task, and messages or prompt; default: prompts/prompts.jsonl", 0, false },
    { { "--tasks" }, LV_OPT_FILE, BENCH_D, AT(tasks), 0, 0, "LIST", MEASURE,
      "as in code,math; default: all in the file", 0, false },
    { { "--count" }, LV_OPT_U32, BENCH_D, AT(count), 1, 100000, "N", MEASURE,
      "prompts of each task; default 1", 0, false },
    { { "--n-off" }, LV_OPT_U32, BENCH_D, AT(n_off), 1, MAX_TOK, "N", MEASURE,
      "tokens a prompt in mode off, at most -n; default 16", 0, false },
    { { "--reference" }, LV_OPT_FILE, BENCH_D, AT(reference), 0, 0, "FILE", MEASURE,
      "a model that gives the same tokens as the target and fits in memory; default: the target", 0, false },
    { { "--repeat" }, LV_OPT_U32, BENCH_D, AT(repeat), 1, LV_CAP_REPEAT, "N", MEASURE,
      "times each generation, for the spread; default 1", 0, false },
    { { "--peers" }, LV_OPT_FILE, BENCH_D, AT(peers), 0, 0, "DIR", MEASURE,
      "also time llama.cpp's programs in DIR, held to the same memory by a control group (needs root)", 0, false },
    { { "--html" }, LV_OPT_FILE, BENCH_D, AT(html), 0, 0, "FILE", OUTPUT,
      "also write a report with figures, one file that needs nothing else", 0, false },
    { { "--csv" }, LV_OPT_FILE, BENCH_D, AT(csv), 0, 0, "FILE", OUTPUT,
      "also append a row for each memory size, mode and task", 0, false },

    { { "-o", "--out" }, LV_OPT_FILE, PACK, AT(out), 0, 0, "FILE", OUTPUT,
      "default: MODEL.lvp; elsewhere lever run needs --sidecar FILE", 0, false },
    { { "--force" }, LV_OPT_FLAG, PACK, AT(force), 0, 0, NULL, OUTPUT,
      "write it even if a good one is there, or another file has its name", 0, false },
    { { "--json" }, LV_OPT_FLAG, RUN | PLAN | PROBE | BENCH | INFO | TOK | PACK | BENCH_D | REPLAY, AT(json), 0, 0, NULL, OUTPUT,
      "print one JSON object on standard output", 0, false },
    { { "--all" }, LV_OPT_FLAG, INFO, AT(all), 0, 0, NULL, OUTPUT, "also every metadata key and every tensor", 0, false },
    { { "-v", "--verbose" }, LV_OPT_FLAG, RUN | PLAN | PROBE | BENCH | INFO | TOK | PACK | BENCH_D | REPLAY, AT(verbose), 0, 0, NULL, OUTPUT,
      "also show what the engine decides", 0, false },
    { { "-h", "--help" }, LV_OPT_FLAG, RUN | PLAN | PROBE | BENCH | INFO | TOK | PACK | BENCH_D | REPLAY, AT(help), 0, 0, NULL, OUTPUT,
      "this page", 0, false },
};
const size_t lv_n_options = sizeof lv_options / sizeof lv_options[0];

const struct lv_foreign lv_foreign_options[] = {
    { { "-ngl", "--gpu-layers", "--n-gpu-layers", "-ngld" },
      "Lever places no layers on a GPU; bound its memory with --memory SIZE" },
    { { "-ot", "--override-tensor", "-cmoe", "-ncmoe" },
      "Lever decides by itself which tensors stay in memory; bound it with --memory SIZE" },
    { { "-sm", "-ts", "-mg", "-dev" }, "this build uses the CPU only; choose threads with -t N" },
    { { "--split-mode", "--tensor-split", "--main-gpu", "--device*" },
      "this build uses the CPU only; choose threads with -t N" },
    { { "--mmap", "--no-mmap" },
      "Lever maps no model file: it streams the weights that do not fit; bound its memory with --memory SIZE" },
    { { "--mlock" }, "what must stay in memory is kept there already; bound it with --memory SIZE" },
    { { "-fa", "--flash-attn" }, "Lever has one attention kernel that needs no switch; leave it out" },
    { { "-ctk", "-ctv", "--cache-type*" }, "the KV cache has one type; a smaller one comes with -c N" },
    { { "--draft", "--draft-max", "--draft-n" }, "use --spec-draft-n-max K" },
    { { "--draft-min", "--draft-n-min", "--draft-p-*", "--spec-draft-n-min" },
      "Lever adapts the draft's length by itself; only --spec-draft-n-max K bounds it" },
    { { "-cd", "--ctx-size-draft", "-td", "--threads-draft" }, "draft and target share -c N and -t N" },
    { { "-tb", "--threads-batch", "--cpu-mask*", "--cpu-range*" }, "use -t N for prompt and generation alike" },
    { { "-b", "-ub", "--batch-size", "--ubatch-size" }, "the batch is planned from --memory SIZE; leave it out" },
    { { "--numa", "--prio*", "--poll*" }, "there is no such setting; choose threads with -t N" },
    { { "-cnv", "--conversation", "-i", "--interactive*" },
      "for one turn use --chat TEXT; an interactive chat is not there yet" },
    { { "-no-cnv", "--no-conversation" }, "-p TEXT is raw text already; leave it out" },
    { { "-sys", "--system-prompt*", "-sysf" },
      "write the system turn into -p TEXT with the model's special tokens; --chat takes one user turn" },
    { { "--jinja", "--no-jinja", "--chat-template*", "--reasoning*" },
      "the chat template comes from the model file; use --chat TEXT" },
    { { "-r", "--reverse-prompt" }, "use --stop TEXT" },
    { { "-e", "--escape", "--no-escape" }, "text is taken as it is; in a shell write $'a\\nb', or use -f FILE" },
    { { "-hf", "-hfd", "--hf-*", "-mu" }, "Lever downloads nothing; name a file with -m FILE" },
    { { "--grammar*", "--json-schema*", "-j" }, "constrained output is not there yet" },
    { { "--lora*", "--control-vector*" }, "adapters are not there yet; use a model file with the adapter merged in" },
    { { "--rope-*", "--yarn-*" }, "position scaling is read from the model file; leave it out" },
    { { "--mirostat*", "--dry-*", "--xtc-*", "--typical*" },
      "this sampler is not there; use --temp, --top-k, --top-p or --min-p" },
    { { "--top-nsigma", "--dynatemp*", "--samplers", "--sampler-seq" },
      "this sampler is not there; use --temp, --top-k, --top-p or --min-p" },
    { { "--keep", "--context-shift", "--no-context-shift", "--swa-full" },
      "the context is never shifted: when it is full, generation ends; ask for more with -c N" },
    { { "--prompt-cache*", "--slot-save-path" }, "saved chat states are not there yet" },
    { { "--mmproj*", "--image*", "--audio*" }, "Lever reads text only" },
    { { "-np", "--parallel", "--host", "--port" }, "it belongs to lever serve, which is not there yet" },
    { { "--log-*", "--no-perf", "--perf", "--color" },
      "messages go to standard error; more of them with -v, figures with --json" },
    { { "--special", "-sp" }, "end tokens are never printed; lever run --json lists all ids" },
};
const size_t lv_n_foreign_options = sizeof lv_foreign_options / sizeof lv_foreign_options[0];
