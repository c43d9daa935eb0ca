/* Named bad files: a small complete model, one change each, and what the error has to say.
 *
 * threads  any */
#ifndef TEST_GGUF_BAD_FILES_H
#define TEST_GGUF_BAD_FILES_H

#include "build.h"

enum change {
    NOTHING,
    /* header */
    MAGIC, VERSION, N_TENSORS, N_KEYS, CUT /* to num bytes; num < 0: so many off the end */,
    /* keys */
    U32, I32, U64, F32, TEXT, BOOL, KIND /* the value's kind number only */, ARRAY /* of kind num, n claimed num2 */,
    STRING_LENGTH, DROP_KEY, AGAIN, RENAME_KEY,
    /* tensors */
    TYPE, DIM0, DIM1, DIM2, N_DIM, OFFSET, RENAME, ADD /* type num, [num2] */, DROP, TWICE
};

struct bad_file {
    const char *name;
    enum lv_arch arch;
    enum change change;
    const char *at; /* key or tensor */
    int64_t num, num2;
    double f;
    const char *text;
    const char *want; /* part of the message */
};

extern const struct bad_file bad_files[];
extern const unsigned n_bad_files;

/* The file's bytes. Free with gb_bytes_free. */
struct gb_bytes bad_file_make(const struct bad_file *b);

#endif
