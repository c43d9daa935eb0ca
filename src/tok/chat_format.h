/* The known chat formats, as data for chat.c and chat_detect.c. */
#ifndef LV_TOK_CHAT_FORMAT_H
#define LV_TOK_CHAT_FORMAT_H

#include "tok/chat.h"

#define LV_CHAT_MAX_MARK 8

struct lv_chat_format {
    const char *name;
    /* A file's template, in normal form (chat_detect.c), is of this format when it is equal to
     * one of `same`, or when it has all of `with` and none of `without`. */
    const char *same[2];
    const char *with[LV_CHAT_MAX_MARK], *without[LV_CHAT_MAX_MARK];

    enum { LV_CHAT_ML, LV_CHAT_ML_THINK, LV_CHAT_HEADER, LV_CHAT_TURN, LV_CHAT_INST } family;
    const char *bos;            /* printed first */
    const char *default_system; /* ChatML: system turn when the messages bring none; NULL = none */
    const char *system_prefix;  /* Llama 3.1: text before the system message, a turn of its own; NULL = none */
    const char *after_answer;   /* Mistral: closes an assistant message */
};

/* Normal form of a template: what it prints stays, how it is laid out goes. Returns a heap
 * string (lv_free) or NULL when there is no memory or it is over 64 KiB. */
char *lv_chat_normalize(const char *s, size_t len);
/* The format of a template by its text, or NULL. */
const struct lv_chat_format *lv_chat_find(const char *s, size_t len);

#endif
