/* Recognises a model's chat template. The templates are programs; rather than run them,
 * Lever knows a few by what they print. A template that deviates is not recognised:
 * a prompt in a slightly wrong format makes a model worse without any error. */
#include <string.h>

#include "base/mem.h"
#include "gguf/gguf.h"
#include "tok/chat_format.h"

#define MAX_TEMPLATE_BYTES ((size_t)64 << 10)

#define ML_TURN "{{'<|im_start|>'+message['role']+'\n'+message['content']+'<|im_end|>'+'\n'}}"
#define ML_OPEN "{%if add_generation_prompt%}{{'<|im_start|>assistant\n'}}{%endif%}"
#define ML_DEFAULT(text)                                                                               \
    "{%for message in messages%}{%if loop.first and messages[0]['role']!='system'%}{{'<|im_start|>system\n" text \
    "<|im_end|>\n'}}{%endif%}" ML_TURN "{%endfor%}" ML_OPEN

#define QWEN_SYSTEM "You are Qwen, created by Alibaba Cloud. You are a helpful assistant."
#define QWEN2_SYSTEM "You are a helpful assistant."
#define SMOLLM2_SYSTEM "You are a helpful AI assistant named SmolLM, trained by Hugging Face"

/* Which question was the last; results of tools do not count. */
#define QWEN3_QUERY                                                                                      \
    "{%set ns=namespace(multi_step_tool=true,last_query_index=messages|length-1)%}{%for message in "        \
    "messages[::-1]%}{%set index=(messages|length-1)-loop.index0%}{%if ns.multi_step_tool and "             \
    "message.role=='user'and message.content is string and not(message.content.startswith('<tool_response>')" \
    "and message.content.endswith('</tool_response>'))%}{%set ns.multi_step_tool=false%}"                   \
    "{%set ns.last_query_index=index%}{%endif%}{%endfor%}"
#define QWEN3_TURN                                                                                       \
    "{%if message.content is string%}{%set content=message.content%}{%else%}{%set content=''%}{%endif%}"    \
    "{%if(message.role=='user')or(message.role=='system'and not loop.first)%}"                              \
    "{{'<|im_start|>'+message.role+'\n'+content+'<|im_end|>'+'\n'}}{%elif message.role=='assistant'%}"      \
    "{%set reasoning_content=''%}{%if message.reasoning_content is string%}"                                \
    "{%set reasoning_content=message.reasoning_content%}{%else%}{%if'</think>'in content%}"                 \
    "{%set reasoning_content=content.split('</think>')[0].rstrip('\n').split('<think>')[-1].lstrip('\n')%}" \
    "{%set content=content.split('</think>')[-1].lstrip('\n')%}{%endif%}{%endif%}"                          \
    "{%if loop.index0>ns.last_query_index%}{%if loop.last or(not loop.last and reasoning_content)%}"        \
    "{{'<|im_start|>'+message.role+'\n<think>\n'+reasoning_content.strip('\n')+'\n</think>\n\n'+"           \
    "content.lstrip('\n')}}{%else%}{{'<|im_start|>'+message.role+'\n'+content}}{%endif%}{%else%}"           \
    "{{'<|im_start|>'+message.role+'\n'+content}}{%endif%}"

#define LLAMA3_BODY                                                                                       \
    "{%set loop_messages=messages%}{%for message in loop_messages%}{%set content='<|start_header_id|>'+"    \
    "message['role']+'<|end_header_id|>\n\n'+message['content']|trim+'<|eot_id|>'%}{%if loop.index0==0%}"   \
    "{%set content=bos_token+content%}{%endif%}{{content}}{%endfor%}"
#define LLAMA3_OPEN "{{'<|start_header_id|>assistant<|end_header_id|>\n\n'}}"

#define GEMMA3                                                                                              \
    "{{bos_token}}{%if messages[0]['role']=='system'%}{%if messages[0]['content']is string%}"                \
    "{%set first_user_prefix=messages[0]['content']+'\n\n'%}{%else%}"                                       \
    "{%set first_user_prefix=messages[0]['content'][0]['text']+'\n\n'%}{%endif%}"                           \
    "{%set loop_messages=messages[1:]%}{%else%}{%set first_user_prefix=''%}{%set loop_messages=messages%}"   \
    "{%endif%}{%for message in loop_messages%}{%if(message['role']=='user')!=(loop.index0%2==0)%}"           \
    "{{raise_exception('Conversation roles must alternate user/assistant/user/assistant/...')}}{%endif%}"    \
    "{%if(message['role']=='assistant')%}{%set role='model'%}{%else%}{%set role=message['role']%}{%endif%}"  \
    "{{'<start_of_turn>'+role+'\n'+(first_user_prefix if loop.first else'')}}"                              \
    "{%if message['content']is string%}{{message['content']|trim}}{%elif message['content']is iterable%}"    \
    "{%for item in message['content']%}{%if item['type']=='image'%}{{'<start_of_image>'}}"                   \
    "{%elif item['type']=='text'%}{{item['text']|trim}}{%endif%}{%endfor%}{%else%}"                          \
    "{{raise_exception('Invalid content type')}}{%endif%}{{'<end_of_turn>\n'}}{%endfor%}"                    \
    "{%if add_generation_prompt%}{{'<start_of_turn>model\n'}}{%endif%}"

#define MISTRAL(after_answer)                                                                               \
    "{{bos_token}}{%for message in messages%}{%if(message['role']=='user')!=(loop.index0%2==0)%}"            \
    "{{raise_exception('Conversation roles must alternate user/assistant/user/assistant/...')}}{%endif%}"    \
    "{%if message['role']=='user'%}{{'[INST] '+message['content']+' [/INST]'}}"                              \
    "{%elif message['role']=='assistant'%}{{message['content']+" after_answer "}}"                           \
    "{%else%}{{raise_exception('Only user and assistant roles are supported!')}}{%endif%}{%endfor%}"

static const struct lv_chat_format format_table[] = {
    {
        .name = "chatml-qwen",
        .with = { "{%else%}{%if messages[0]['role']=='system'%}{{'<|im_start|>system\n'+"
                  "messages[0]['content']+'<|im_end|>\n'}}{%else%}{{'<|im_start|>system\n" QWEN_SYSTEM
                  "<|im_end|>\n'}}{%endif%}{%endif%}{%for message in messages%}",
                  "{%if(message.role=='user')or(message.role=='system'and not loop.first)or(message.role=='assistant'and not "
                  "message.tool_calls)%}{{'<|im_start|>'+message.role+'\n'+message.content+'<|im_end|>'+'\n'}}{%elif",
                  "{%endfor%}" ML_OPEN },
        .without = { "<think>", "<|vision_start|>" },
        .family = LV_CHAT_ML,
        .default_system = QWEN_SYSTEM,
    },
    {
        .name = "chatml-qwen2",
        .same = { ML_DEFAULT(QWEN2_SYSTEM) },
        .family = LV_CHAT_ML,
        .default_system = QWEN2_SYSTEM,
    },
    {
        .name = "smollm2",
        .same = { ML_DEFAULT(SMOLLM2_SYSTEM) },
        .family = LV_CHAT_ML,
        .default_system = SMOLLM2_SYSTEM,
    },
    {
        .name = "chatml-qwen3",
        .with = { "{%else%}{%if messages[0].role=='system'%}{{'<|im_start|>system\n'+messages[0].content+'<|im_end|>\n'}}"
                  "{%endif%}{%endif%}" QWEN3_QUERY "{%for message in messages%}" QWEN3_TURN "{%if message.tool_calls%}",
                  "{%endfor%}{%endif%}{{'<|im_end|>\n'}}{%elif message.role=='tool'%}",
                  "{%endfor%}{%if add_generation_prompt%}{{'<|im_start|>assistant\n'}}{%if enable_thinking is defined and "
                  "enable_thinking is false%}{{'<think>\n\n</think>\n\n'}}{%endif%}{%endif%}" },
        .without = { "<|vision_start|>", "You are Qwen" },
        .family = LV_CHAT_ML_THINK,
    },
    {
        .name = "chatml",
        .same = { "{%for message in messages%}" ML_TURN "{%endfor%}" ML_OPEN,
                  "{%if not add_generation_prompt is defined%}{%set add_generation_prompt=false%}{%endif%}"
                  "{%for message in messages%}" ML_TURN "{%endfor%}" ML_OPEN },
        .family = LV_CHAT_ML,
    },
    {
        .name = "llama3",
        .same = { LLAMA3_BODY "{%if add_generation_prompt%}" LLAMA3_OPEN "{%endif%}", LLAMA3_BODY LLAMA3_OPEN },
        .family = LV_CHAT_HEADER,
        .bos = "<|begin_of_text|>",
    },
    {
        .name = "llama3.1",
        .with = { "{{bos_token}}", "{%set date_string='26 Jul 2024'%}", "{%if messages[0]['role']=='system'%}{%set "
                  "system_message=messages[0]['content']|trim%}{%set messages=messages[1:]%}{%else%}"
                  "{%set system_message=''%}{%endif%}",
                  "{{'<|start_header_id|>system<|end_header_id|>\n\n'}}",
                  "{{'Cutting Knowledge Date: December 2023\n'}}{{'Today Date: '+date_string+'\n\n'}}",
                  "{{system_message}}{{'<|eot_id|>'}}",
                  "{{'<|start_header_id|>'+message['role']+'<|end_header_id|>\n\n'+message['content']|trim+'<|eot_id|>'}}",
                  "{%if add_generation_prompt%}" LLAMA3_OPEN "{%endif%}" },
        .without = { "strftime_now", "'detailed thinking" }, /* Llama 3.2 prints the day of the call */
        .family = LV_CHAT_HEADER,
        .bos = "<|begin_of_text|>",
        .system_prefix = "Cutting Knowledge Date: December 2023\nToday Date: 26 Jul 2024\n\n",
    },
    {
        .name = "gemma",
        .same = { GEMMA3 },
        .family = LV_CHAT_TURN,
        .bos = "<bos>",
    },
    {
        .name = "mistral",
        .same = { MISTRAL("eos_token") },
        .family = LV_CHAT_INST,
        .bos = "<s>",
        .after_answer = "</s>",
    },
    {
        .name = "mistral-v0.1",
        .same = { MISTRAL("eos_token+' '") },
        .family = LV_CHAT_INST,
        .bos = "<s>",
        .after_answer = "</s> ",
    },
};

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

static bool is_word(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
}

/* A cursor over the template, and its normal form so far. */
struct scan {
    const char *s, *end, *begin;
    char *out;
    size_t n_out;
};

static void put(struct scan *c, char ch)
{
    c->out[c->n_out++] = ch;
}

/* A quoted string: quotes become ', escapes of newline and quotes are resolved. */
static void scan_string(struct scan *c)
{
    const char quote = *c->s++;

    put(c, '\'');
    while (c->s < c->end && *c->s != quote) {
        if (*c->s == '\\' && c->end - c->s > 1) {
            c->s++;
            put(c, *c->s == 'n' ? '\n' : *c->s == 't' ? '\t' : *c->s);
        } else {
            put(c, *c->s);
        }
        c->s++;
    }
    if (c->s < c->end)
        c->s++;
    put(c, '\'');
}

/* Inside of {{ }} or {% %}: blanks only between two words. Leaves c->s after the tag;
 * returns whether the tag cuts the blanks after it. */
static bool scan_tag(struct scan *c)
{
    const char close = c->s[1] == '%' ? '%' : '}';
    bool blank = false, at_start = true, cuts;

    put(c, '{');
    put(c, c->s[1]);
    c->s += 2;
    if (c->s < c->end && *c->s == '-') /* a + stays: nobody needs it here */
        c->s++;
    while (c->end - c->s >= 2 && !(c->s[0] == close && c->s[1] == '}')) {
        if (c->s[0] == '-' && c->s[1] == close && c->end - c->s >= 3 && c->s[2] == '}')
            break;
        if (is_blank(*c->s)) {
            blank = !at_start;
            c->s++;
            continue;
        }
        if (blank && is_word(c->out[c->n_out - 1]) && is_word(*c->s))
            put(c, ' ');
        blank = at_start = false;
        if (*c->s == '\'' || *c->s == '"')
            scan_string(c);
        else
            put(c, *c->s++);
    }
    cuts = c->s < c->end && *c->s == '-';
    c->s = c->end - c->s > 2 + cuts ? c->s + 2 + cuts : c->end;
    put(c, close);
    put(c, '}');
    return cuts;
}

static const char *find_tag(const char *s, const char *end)
{
    for (; end - s >= 2; s++)
        if (s[0] == '{' && (s[1] == '{' || s[1] == '%' || s[1] == '#'))
            return s;
    return end;
}

/* Text between tags, less what the tags and the usual options trim_blocks and lstrip_blocks cut. */
static void scan_text(struct scan *c, bool after_cut, bool after_block)
{
    const char *s = c->s, *e = find_tag(c->s, c->end);
    const char *next = e;

    if (after_cut)
        while (s < e && is_blank(*s))
            s++;
    else if (after_block && s < e && *s == '\n')
        s++;
    if (c->end - e >= 3 && e[2] == '-') {
        while (e > s && is_blank(e[-1]))
            e--;
    } else if (c->end - e >= 2 && e[1] != '{') {
        const char *line = e;

        while (line > c->s && (line[-1] == ' ' || line[-1] == '\t'))
            line--;
        if (line == c->begin || line[-1] == '\n')
            e = line;
    }
    while (s < e)
        put(c, *s++);
    c->s = next;
}

/* A comment; returns whether it cuts the blanks after it. */
static bool scan_comment(struct scan *c)
{
    for (c->s += 2; c->end - c->s >= 2; c->s++) {
        if (c->s[0] == '#' && c->s[1] == '}') {
            c->s += 2;
            return c->s[-3] == '-';
        }
    }
    c->s = c->end;
    return false;
}

char *lv_chat_normalize(const char *s, size_t len)
{
    struct scan c = { s, s + len, s, NULL, 0 };
    bool cuts = false, block = false;

    if (len > MAX_TEMPLATE_BYTES)
        return NULL;
    /* A tag grows by no more than the two bytes of an end that is missing. */
    if (!(c.out = lv_alloc(len + 8, 1)))
        return NULL;
    while (c.s < c.end) {
        scan_text(&c, cuts, block);
        if (c.s == c.end)
            break;
        block = c.s[1] != '{';
        cuts = c.s[1] == '#' ? scan_comment(&c) : scan_tag(&c);
    }
    while (c.n_out && is_blank(c.out[c.n_out - 1])) /* a newline at the end of the file is not printed */
        c.n_out--;
    put(&c, '\0');
    return c.out;
}

static bool matches(const struct lv_chat_format *f, const char *text)
{
    for (int i = 0; i < 2; i++)
        if (f->same[i] && strcmp(f->same[i], text) == 0)
            return true;
    if (!f->with[0])
        return false;
    for (int i = 0; i < LV_CHAT_MAX_MARK; i++)
        if ((f->with[i] && !strstr(text, f->with[i])) || (f->without[i] && strstr(text, f->without[i])))
            return false;
    return true;
}

const struct lv_chat_format *lv_chat_find(const char *s, size_t len)
{
    const struct lv_chat_format *found = NULL;
    char *text = lv_chat_normalize(s, len);

    if (!text)
        return NULL;
    for (size_t i = 0; !found && i < sizeof format_table / sizeof format_table[0]; i++)
        if (matches(&format_table[i], text))
            found = &format_table[i];
    lv_free(text);
    return found;
}

const struct lv_chat_format *lv_chat_detect(const struct lv_gguf *g)
{
    struct lv_str text;

    if (lv_gguf_get_str(g, "tokenizer.chat_template", &text, NULL) != LEVER_OK)
        return NULL;
    return lv_chat_find(text.s, text.len);
}

const char *lv_chat_name(const struct lv_chat_format *f)
{
    return f->name;
}
