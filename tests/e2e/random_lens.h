/* Lens files that say nonsense about a generated model. */
#ifndef E2E_RANDOM_LENS_H
#define E2E_RANDOM_LENS_H

#include <stdbool.h>

#include "base/rng.h"

/* Writes to `path` a lens with random matrices and weights for model file `model`, n <= 4 depths, rising. Prints why it
 * cannot, and returns false. */
bool random_lens(const char *model, const char *path, const uint32_t *depth, uint32_t n, struct lv_rng *r);

#endif
