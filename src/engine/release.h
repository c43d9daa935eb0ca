/* Release: the memory of a draft that loses becomes pinned weights of the target.
 *
 * A plan decides for a draft before anything was measured. Where rounds with it stay slower a token than plain decoding would
 * be with its memory full of weights, it goes, for as long as the engine is open. The text is the same either way. */
#ifndef LV_ENGINE_RELEASE_H
#define LV_ENGINE_RELEASE_H

#include "engine/seq.h"

/* After a round with a draft: whether the run stays below what decoding without it is predicted to give. */
void lv_release_judge(lever_seq *q);
/* It did so for long enough. */
bool lv_release_due(const lever_seq *q);

/* Between rounds, while there are a draft and a stream. Afterwards there is no draft, and as much more of the target is pinned as its memory holds; if that cannot be
 * read, all is as before but for the draft. LEVER_E_CANCEL: nothing has changed. */
enum lever_status lv_release_draft(lever_seq *q, struct lever_error *err);

#endif
