/* A tiny model and its sidecar in the test's folder, and what tests do with them. Failures end the test (cmocka).
 *
 * owns     the files; setup and teardown remove them */
#ifndef ENGINE_SIDE_FILES_H
#define ENGINE_SIDE_FILES_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "engine/sidecar.h"
#include "ref/tiny.h"

extern const char *side_folder;                    /* set by main */
extern char side_model[600], side_lvp[620], side_part[640]; /* set by side_setup */

int side_setup(void **state);
int side_teardown(void **state);

/* Q4_K with other types here and there; 333 tokens: the head's last group has 13 rows. */
struct tiny_spec side_usual(void);
void side_write_model(const struct tiny_spec *spec);

struct lever_pack_options side_pack_options(void);
enum lever_status side_pack(bool force, struct lever_error *err);
void side_pack_ok(void);
/* Every matrix of the sidecar against the reference packer on bytes read with stdio. */
void side_check_contents(void);

bool side_exists(const char *path);
uint8_t *side_read(const char *path, size_t *n); /* free() */
void side_write(const char *path, const uint8_t *b, size_t n);

/* The model, for attaching the sidecar again and again. */
struct side_opened {
    struct lv_gguf *g;
    struct lv_program *p;
};

struct side_opened side_open_model(void);
void side_close_model(struct side_opened *o);
enum lever_status side_attach(struct side_opened *o, struct lever_error *err);

#endif
